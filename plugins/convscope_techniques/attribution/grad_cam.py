"""Where the network looked for a class, at the resolution of a layer (Selvaraju et al. 2017)."""

from __future__ import annotations

from torch import Tensor

from convscope_sdk.run import Run
from convscope_techniques.attribution.attribution import Reporting, attribution
from convscope_techniques.attribution.cam import CamParams, gradient_cam

__all__ = ["grad_cam", "weighted_maps"]


@attribution(
    "grad_cam",
    needs={"image", "gradients", "classes", "spatial_layer"},
    cites="Selvaraju et al. 2017, arXiv:1610.02391",
)
def grad_cam(run: Run[CamParams]) -> Reporting:
    """Where the network looked for a class: the maps of a layer, weighted by the class score's gradient.

    alpha_k is the mean over positions of the gradient of the logit with respect to map k; tensor `cam`,
    (h, w), is ReLU(sum of alpha_k A_k) in the layer's own resolution, and `grad_cam` the same brought to the
    input's by bilinear interpolation. One forward pass, and one backward pass that ends at the layer.
    """
    return (yield from gradient_cam(run, "grad_cam", weighted_maps))


def weighted_maps(maps: Tensor, gradient: Tensor) -> Tensor:
    """(B, 1, h, w): the sum of maps weighted by their mean gradient; maps and gradient are (B, C, h, w)."""
    alpha = gradient.mean((2, 3), keepdim=True)
    return (alpha * maps).sum(1, keepdim=True)
