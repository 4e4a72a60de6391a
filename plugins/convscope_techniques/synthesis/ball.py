"""How far an attack may go from a picture, and how it moves within that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Ball", "Norm"]

Norm = Literal["linf", "l2"]

_WHITE = 255
_SLACK = 1e-4  # so that 8/255 · 255 is eight
_HALVINGS = 12


@dataclass(frozen=True, slots=True)
class Ball:
    """The pictures within `epsilon` of one, by the largest change (`linf`) or the Euclidean norm (`l2`).

    Attributes:
        norm: Which.
        epsilon: The radius, for pixels in [0, 1].
    """

    norm: Norm
    epsilon: float

    def direction(self, gradient: Tensor) -> Tensor:
        """The step of length one that gains most: sign(g), or g/‖g‖₂."""
        return gradient.sign() if self.norm == "linf" else gradient / (gradient.norm() + 1e-10)

    def project(self, image: Tensor, pixels: Tensor) -> Tensor:
        """The pixels brought back into the ball around the image, then into [0, 1]."""
        change = pixels - image
        if self.norm == "linf":
            change = change.clamp(-self.epsilon, self.epsilon)
        else:
            change = change * (self.epsilon / change.norm()).clamp(max=1)
        return (image + change).clamp(0, 1)

    def random(self, image: Tensor) -> Tensor:
        """A picture in the ball: uniform in the cube, or a uniform length in a uniform direction (torchattacks)."""
        if self.norm == "linf":
            change = torch.empty(image.shape).uniform_(-self.epsilon, self.epsilon)
        else:
            change = torch.randn(image.shape)
            change = change * (float(torch.rand(())) * self.epsilon / change.norm())
        return (image + change.to(image.device)).clamp(0, 1)

    def on_grid(self, image: Tensor, pixels: Tensor) -> Tensor:
        """The nearest picture of 8-bit values within the ball; the image has 8-bit values already.

        By the largest change, changes are rounded and cut at the last whole step within. By the Euclidean norm, the
        change is shortened before rounding by as little as is needed.
        """
        origin = (image * _WHITE).round()
        change = pixels * _WHITE - origin
        if self.norm == "linf":
            most = math.floor(self.epsilon * _WHITE + _SLACK)
            steps = change.round().clamp(-most, most)
        else:
            steps = self._shortened(change)
        return (origin + steps).clamp(0, _WHITE) / _WHITE

    def _shortened(self, change: Tensor) -> Tensor:
        limit, low, high = self.epsilon * _WHITE + _SLACK, 0.0, 1.0
        if float(change.round().norm()) <= limit:
            return change.round()
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            fits = float((middle * change).round().norm()) <= limit
            low, high = (middle, high) if fits else (low, middle)
        return (low * change).round()
