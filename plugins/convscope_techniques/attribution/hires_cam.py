"""Where a class's score comes from, position by position (Draelos & Carin 2020)."""

from __future__ import annotations

from torch import Tensor

from convscope_sdk.run import Run
from convscope_techniques.attribution.attribution import Reporting, attribution
from convscope_techniques.attribution.cam import CamParams, gradient_cam

__all__ = ["hires_cam", "hires_maps"]


@attribution(
    "hires_cam",
    needs={"image", "gradients", "classes", "spatial_layer"},
    cites="Draelos & Carin 2020, arXiv:2011.08891",
)
def hires_cam(run: Run[CamParams]) -> Reporting:
    """Where the class's score comes from: the maps of a layer times its gradient, position by position.

    Tensor `cam`, (h, w), is ReLU(sum over channels of g * A), with g the gradient of the logit at the maps A.
    Grad-CAM averages the gradient over positions first and can so point where the network did not look; the two
    agree, but for the number of positions, where the layer feeds global average pooling and one linear layer.
    """
    return (yield from gradient_cam(run, "hires_cam", hires_maps))


def hires_maps(maps: Tensor, gradient: Tensor) -> Tensor:
    """(B, 1, h, w): the sum over channels of gradient x maps; maps and gradient are (B, C, h, w)."""
    return (gradient * maps).sum(1, keepdim=True)
