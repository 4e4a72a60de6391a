"""Where the network looked for a class, all of its instances alike (Chattopadhyay et al. 2018)."""

from __future__ import annotations

from torch import Tensor

from convscope_sdk.run import Run
from convscope_techniques.attribution.attribution import Reporting, attribution
from convscope_techniques.attribution.cam import CamParams, gradient_cam

__all__ = ["alphas", "grad_cam_plus_plus", "plus_plus_maps"]


@attribution(
    "grad_cam_plus_plus",
    needs={"image", "gradients", "classes", "spatial_layer"},
    cites="Chattopadhyay et al. 2018, arXiv:1710.11063",
)
def grad_cam_plus_plus(run: Run[CamParams]) -> Reporting:
    """Where the network looked for a class, with several instances of it, or all of a large one, shown alike.

    With g the gradient of the logit S at a map A, the map's weight is w = sum over positions of
    alpha * ReLU(g), where alpha = g^2 / (2 g^2 + g^3 sum(A)), equation 19 for the class score exp(S), whose own
    factor changes nothing but the scale. Tensor `cam`, (h, w), is ReLU(sum of w_k A_k). The weights are derived
    for maps at or above zero, as they are after a ReLU; elsewhere sum(A) counts what is above zero, which keeps
    alpha at or below 1/2 wherever g is positive.
    """
    return (yield from gradient_cam(run, "grad_cam_plus_plus", plus_plus_maps))


def plus_plus_maps(maps: Tensor, gradient: Tensor) -> Tensor:
    """(B, 1, h, w): the sum of maps weighted by alpha * ReLU(gradient); maps and gradient are (B, C, h, w)."""
    positive = gradient.relu()
    weights = (alphas(maps, positive) * positive).sum((2, 3), keepdim=True)
    return (weights * maps).sum(1, keepdim=True)


def alphas(maps: Tensor, positive: Tensor) -> Tensor:
    """(B, C, h, w) coefficients in (0, 1/2] where the gradient is `positive`; the fraction divided by g^2."""
    # Peers add a constant to the denominator instead, which outweighs g^2 at the gradients of real networks.
    return 1 / (2 + positive * maps.relu().sum((2, 3), keepdim=True))
