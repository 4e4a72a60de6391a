"""Where a layer, also a shallow one, found what speaks for a class (Jiang et al. 2021)."""

from __future__ import annotations

from torch import Tensor

from convscope_sdk.run import Run
from convscope_techniques.attribution.attribution import Reporting, attribution
from convscope_techniques.attribution.cam import CamParams, gradient_cam

__all__ = ["layer_cam", "layer_maps"]


@attribution(
    "layer_cam",
    needs={"image", "gradients", "classes", "spatial_layer"},
    cites="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
)
def layer_cam(run: Run[CamParams]) -> Reporting:
    """Where a layer found what speaks for a class; fine-grained at shallow layers, where Grad-CAM is noise.

    Each position of a map has a weight of its own, the positive part of the gradient there: tensor `cam`, (h, w),
    is ReLU(sum over channels of ReLU(g) * A), with g the gradient of the logit at the maps A. Give several
    `layers` to fuse coarse and fine maps.
    """
    return (yield from gradient_cam(run, "layer_cam", layer_maps))


def layer_maps(maps: Tensor, gradient: Tensor) -> Tensor:
    """(B, 1, h, w): the sum over channels of ReLU(gradient) x maps; maps and gradient are (B, C, h, w)."""
    return (gradient.relu() * maps).sum(1, keepdim=True)
