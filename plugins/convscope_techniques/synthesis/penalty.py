"""What makes a picture unlike a photograph, as a number to be kept small.

Each takes pixels (B, C, H, W), sums over all of them, and is differentiable.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["absolute_variation", "alpha_norm", "squared_norm", "total_variation"]

_FLAT = 1e-12  # keeps the root's slope finite where the picture is flat


def total_variation(pixels: Tensor, beta: float = 2.0) -> Tensor:
    """TV^beta: the sum over pixels of (dx² + dy²)^(beta/2), d the difference to the next (Mahendran & Vedaldi 2015).

    At beta = 2 it is the sum of all squared differences of neighbours, as in the CS231n assignments.
    """
    squares = functional.pad(_dx(pixels).square(), (0, 1)) + functional.pad(_dy(pixels).square(), (0, 0, 0, 1))
    return squares.sum() if beta == 2 else (squares + _FLAT).pow(beta / 2).sum()  # noqa: PLR2004 - no root to take


def absolute_variation(pixels: Tensor) -> Tensor:
    """The sum of |dx| + |dy|, as neural-style has it."""
    return _dx(pixels).abs().sum() + _dy(pixels).abs().sum()


def alpha_norm(values: Tensor, alpha: float = 6.0) -> Tensor:
    """The sum of |value|^alpha, of pixels less their mean colour (Mahendran & Vedaldi 2015)."""
    return values.abs().pow(alpha).sum()


def squared_norm(values: Tensor) -> Tensor:
    """The sum of squares, of pixels less their mean colour (Simonyan et al. 2013)."""
    return values.square().sum()


def _dx(pixels: Tensor) -> Tensor:
    return pixels[..., 1:] - pixels[..., :-1]


def _dy(pixels: Tensor) -> Tensor:
    return pixels[..., 1:, :] - pixels[..., :-1, :]
