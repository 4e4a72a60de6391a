"""What stands in for a part of a picture that is taken away."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch.nn import functional

from convscope_sdk.network import Network

__all__ = ["BASELINE_HELP", "Baseline", "baseline_of", "blurred"]

Baseline = Literal["grey", "mean", "black", "blur"]
BASELINE_HELP = (
    "What replaces the pixels taken away: `grey` 0.5, `mean` the mean colour of the network's normalisation "
    "(0 after it), `black` 0, or `blur` the picture itself under a Gaussian of 10 pixels."
)

_BLUR_SIGMA = 10.0  # Fong & Vedaldi 2017


def baseline_of(kind: Baseline, network: Network, pixels: torch.Tensor) -> torch.Tensor:
    """(1, 3, 1, 1) colour or (1, 3, H, W) picture, in [0, 1], for pixels (1, 3, H, W)."""
    if kind == "blur":
        return blurred(pixels, _BLUR_SIGMA)
    colour = {"grey": (0.5, 0.5, 0.5), "black": (0.0, 0.0, 0.0), "mean": network.spec.mean}[kind]
    return pixels.new_tensor(colour).view(1, 3, 1, 1)


def blurred(pixels: torch.Tensor, sigma: float) -> torch.Tensor:
    """(B, C, H, W) pixels under a Gaussian cut at 3 sigma; the border's pixels go on outside."""
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=pixels.dtype, device=pixels.device)
    kernel = (-(offsets**2) / (2 * sigma**2)).exp()
    kernel = kernel / kernel.sum()
    padded = functional.pad(pixels, (radius,) * 4, mode="replicate").flatten(0, 1)[:, None]
    across = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(across, kernel.view(1, 1, -1, 1)).view_as(pixels)
