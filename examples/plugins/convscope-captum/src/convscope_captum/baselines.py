"""Pictures that stand for the absence of what is explained."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["BASELINE_HELP", "Baseline", "baseline_of"]

Baseline = Literal["black", "grey", "mean", "blur"]
BASELINE_HELP = (
    "What a pixel is compared with: `black`, mid `grey`, the picture's `mean` colour, or the picture in a `blur`."
)


def baseline_of(name: Baseline, pixels: Tensor) -> Tensor:
    """The baseline of a (1, 3, H, W) picture in [0, 1], likewise."""
    if name == "black":
        return torch.zeros_like(pixels)
    if name == "grey":
        return torch.full_like(pixels, 0.5)
    if name == "mean":
        return pixels.mean((2, 3), keepdim=True).expand_as(pixels).clone()
    edge = max(min(pixels.shape[-2:]) // 8, 1)
    small = functional.interpolate(pixels, scale_factor=1 / edge, mode="area")
    return functional.interpolate(small, size=pixels.shape[-2:], mode="bilinear", align_corners=False).clamp(0, 1)
