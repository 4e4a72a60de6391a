"""Random changes that a picture has to survive, so that it is no trick on single pixels (lucid's)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LUCID", "Shake", "cropped", "rotated"]

_GREY = 0.5


@dataclass(frozen=True, slots=True)
class Shake:
    """Pads with grey, crops at random, scales and rotates at random, crops again: another size each time.

    Attributes:
        pad: Grey pixels added on each side.
        jitter: Pixels that the first random crop takes off each axis.
        scale: Scaled by one of eleven factors from 1 - scale to 1 + scale.
        rotate: Rotated by a whole number of degrees up to so many either way; 0 is as likely as any six others.
        last_jitter: Pixels that the last random crop takes off each axis.
    """

    pad: int = 12
    jitter: int = 8
    scale: float = 0.1
    rotate: int = 10
    last_jitter: int = 4

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        """The picture (B, 3, H, W) under one random change, the same for all of the batch; differentiable."""
        pixels = functional.pad(pixels, (self.pad,) * 4, value=_GREY) if self.pad else pixels
        pixels = cropped(pixels, self.jitter, rng)
        if self.scale:
            factor = 1 + self.scale * (int(rng.integers(11)) - 5) / 5
            size = [max(1, int(factor * edge)) for edge in pixels.shape[-2:]]
            pixels = functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        if self.rotate:
            angle = int(rng.integers(-self.rotate, self.rotate + 6))
            pixels = rotated(pixels, angle if angle <= self.rotate else 0)
        return cropped(pixels, self.last_jitter, rng)


LUCID = Shake()
"""The transformations of lucid's `render_vis`."""


def cropped(pixels: Tensor, jitter: int, rng: np.random.Generator) -> Tensor:
    """The picture less `jitter` rows and columns, at random from either side."""
    if not jitter:
        return pixels
    top, left = rng.integers(0, jitter + 1, 2).tolist()
    height, width = pixels.shape[-2:]
    return pixels[..., top : height - jitter + top, left : width - jitter + left]


def rotated(pixels: Tensor, degrees: float) -> Tensor:
    """The picture turned about its centre, in its own size, bilinear; grey comes in at the corners."""
    if not degrees:
        return pixels
    angle = torch.tensor(degrees * torch.pi / 180)
    cos, sin = float(angle.cos()), float(angle.sin())
    height, width = pixels.shape[-2:]
    turn = pixels.new_tensor([[cos, -sin * height / width, 0], [sin * width / height, cos, 0]])
    grid = functional.affine_grid(turn.expand(len(pixels), 2, 3), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels - _GREY, grid, align_corners=False) + _GREY
