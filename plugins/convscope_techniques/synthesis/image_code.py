"""The codes of lucid: a picture's spectrum or its pixels, in colours that are independent of each other.

Olah, Mordvintsev & Schubert, "Feature Visualization", Distill 2017, doi:10.23915/distill.00007; the numbers are those
of tensorflow/lucid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Basis", "ImageCode"]

Basis = Literal["fourier", "pixel"]

_MAGIC = 4.0
_SPREAD = 0.01
_NEVER = 1e-3  # of a picture to begin with, nothing is blacker or whiter: logits are finite
# Square root of the correlations of ImageNet's colours, columns by weight; divided by its largest column's norm.
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


@dataclass(frozen=True, slots=True)
class ImageCode:
    """Pictures of one size, as the sigmoid of what a code stands for.

    Attributes:
        height, width: Of the picture.
        basis: A `pixel` code is (B, 3, H, W); a `fourier` code is (B, 3, H, W // 2 + 1, 2), real and imaginary
            parts, where every wave costs in proportion to its frequency.
        decorrelate: Whether a code's colours are principal ones, which are turned into red, green and blue.
        low, high: Infinite.
    """

    height: int
    width: int
    basis: Basis = "fourier"
    decorrelate: bool = True
    low: float = -math.inf
    high: float = math.inf

    def noise(self, batch: int, device: str | torch.device = "cpu") -> Tensor:
        """A code to begin with: normal noise of deviation 0.01, from torch's global generator."""
        shape = (self.height, self.width) if self.basis == "pixel" else (self.height, self.width // 2 + 1, 2)
        return (_SPREAD * torch.randn(batch, 3, *shape)).to(device)

    def pixels(self, code: Tensor) -> Tensor:
        """(B, 3, H, W) in (0, 1)."""
        values: Tensor = code
        if self.basis == "fourier":
            waves = torch.view_as_complex(code.contiguous()) * self._weights(code)
            values = torch.fft.irfft2(waves, s=(self.height, self.width), norm="ortho") / _MAGIC
        if self.decorrelate:
            values = torch.einsum("rc,bchw->brhw", _colours(code), values)
        return values.sigmoid()

    def code(self, pixels: Tensor) -> Tensor:
        """What stands for pixels (B, 3, H, W), which are kept 0.001 away from black and white."""
        values = pixels.clamp(_NEVER, 1 - _NEVER).logit()
        if self.decorrelate:
            values = torch.einsum("cr,brhw->bchw", torch.linalg.inv(_colours(pixels)), values)
        if self.basis == "pixel":
            return values
        waves = torch.fft.rfft2(values * _MAGIC, norm="ortho") / self._weights(pixels)
        return torch.view_as_real(waves).contiguous()

    def _weights(self, like: Tensor) -> Tensor:
        down = torch.fft.fftfreq(self.height, device=like.device)[:, None]
        across = torch.fft.rfftfreq(self.width, device=like.device)
        frequency: Tensor = (down.square() + across.square()).sqrt()
        return 1 / frequency.clamp(min=1 / max(self.height, self.width))


def _colours(like: Tensor) -> Tensor:
    matrix = torch.tensor(_COLOURS, device=like.device)
    largest: Tensor = matrix.norm(dim=0).max()
    return matrix / largest
