"""Brightness and colour apart, and the colours of one picture for another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Grey", "edge_agreement", "histogram_matched", "luma", "mean_colour", "recoloured", "with_contrast_of"]

_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601
_LEAST_CONTRAST = 1e-6


@dataclass(frozen=True, slots=True)
class Grey:
    """A parameterization: a code (B, 1, H, W) is the brightness of a grey picture."""

    low: float = 0.0
    high: float = 1.0

    def pixels(self, code: Tensor) -> Tensor:
        """(B, 3, H, W)."""
        return code.expand(-1, 3, -1, -1)


def luma(pixels: Tensor) -> Tensor:
    """(B, 1, H, W) brightness of (B, 3, H, W), ITU-R BT.601."""
    return (pixels * pixels.new_tensor(_WEIGHTS).view(1, 3, 1, 1)).sum(1, keepdim=True)


def mean_colour(pixels: Tensor) -> Tensor:
    """(1, 3, 1, 1) of (B, 3, H, W)."""
    return pixels.mean((0, 2, 3), keepdim=True)


def recoloured(brightness: Tensor, picture: Tensor) -> Tensor:
    """The picture's colours at another brightness, (B, 1, H, W); clipped to [0, 1]."""
    return (picture + (brightness - luma(picture))).clamp(0, 1)


def with_contrast_of(values: Tensor, other: Tensor) -> Tensor:
    """`values` moved and stretched to the mean and standard deviation of `other`, in [0, 1] (Gatys et al. 2016b)."""
    stretch = other.std() / values.std().clamp(min=_LEAST_CONTRAST)
    return ((values - values.mean()) * stretch + other.mean()).clamp(0, 1)


def histogram_matched(pixels: Tensor, sample: Tensor) -> Tensor:
    """(1, 3, H, W) pixels, each channel with the histogram of the sample's, and its own order of values."""
    flat, wanted = pixels.flatten(2), sample.flatten(2).sort(-1).values
    values = functional.interpolate(wanted, size=flat.shape[-1], mode="linear", align_corners=True)
    matched = torch.empty_like(flat).scatter_(-1, flat.argsort(-1), values)
    return matched.view_as(pixels)


def edge_agreement(brightness: Tensor, other: Tensor) -> float:
    """Correlation, -1 to 1, of the edges of two brightnesses (1, 1, H, W): the sizes of their gradients (Sobel).

    Zero where one of them has no edges.
    """
    first, second = (_edges(values) for values in (brightness, other))
    first, second = first - first.mean(), second - second.mean()
    scale = first.norm() * second.norm()
    return float((first * second).sum() / scale) if scale > 0 else 0.0


def _edges(brightness: Tensor) -> Tensor:
    sobel = brightness.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = torch.stack([sobel, sobel.T])[:, None]
    return functional.conv2d(brightness, kernels).square().sum(1).sqrt()
