"""A network that turns the output of a layer back into the picture (Dosovitskiy & Brox 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["InversionNetwork", "build_inversion_network"]

_SLOPE = 0.2
_GRID = 4
_LEAST_SIGMA = 1e-3
_VECTOR, _MAPS = 1, 3
_MOST_WIDTHS = 12
_WIDEST = 16_384


class InversionNetwork(nn.Module):
    """Up-convolutions from a code (B, C, h, w) or (B, C) to a picture in [0, 1], twice as large after each.

    "Inverting Visual Representations with Convolutional Networks", arXiv:1506.02753: leaky ReLUs of slope 0.2, and a
    fully connected layer in front of codes without positions. Enlarging is nearest neighbour and a convolution in
    place of their strided up-convolution, which leaves a chequered pattern (Odena 2016).

    Args:
        code_shape: (C, h, w) or (C,) of one code; other h and w are taken too, and give another size of picture.
        widths: Channels at h by w, then after each doubling; 1 to 12 of them.

    Raises:
        ValueError: there is no such code, or there are too few or too many widths.

    Attributes:
        sigma: Standard deviation of each unit, (C, 1, 1) or (C,), which codes are divided by: ones until measured.
    """

    sigma: Tensor

    def __init__(self, code_shape: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        _check(code_shape, widths)
        channels, with_maps = code_shape[0], len(code_shape) == _MAPS
        self.entry: nn.Module = (
            nn.Conv2d(channels, widths[0], 1) if with_maps else nn.Linear(channels, widths[0] * _GRID * _GRID)
        )
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.stages = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairs)
        self.exit = nn.Conv2d(widths[-1], 3, 3, padding=1)
        self.register_buffer("sigma", torch.ones(channels, *(1,) * (len(code_shape) - 1)))
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(part.weight, _SLOPE)
                nn.init.zeros_(_bias(part))
        nn.init.xavier_normal_(self.exit.weight)

    @staticmethod
    def doublings(code_shape: Sequence[int], size: int) -> int:
        """How often a code has to double for its picture to have at least `size` pixels an edge."""
        edge = min(code_shape[1:]) if len(code_shape) == _MAPS else _GRID
        return max(0, math.ceil(math.log2(size / edge)))

    def forward(self, code: Tensor) -> Tensor:
        """(B, 3, h · 2^n, w · 2^n)."""
        x = self.entry(code / self.sigma.clamp(min=_LEAST_SIGMA))
        x = functional.leaky_relu(x, _SLOPE)
        if x.ndim == 2:  # noqa: PLR2004 - a code without positions
            x = x.view(len(x), -1, _GRID, _GRID)
        for index, stage in enumerate(self.stages):
            if index:
                x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = functional.leaky_relu(stage(x), _SLOPE)
        pixels: Tensor = self.exit(x)
        return pixels.sigmoid()


def build_inversion_network(code_shape: tuple[int, ...], widths: tuple[int, ...]) -> nn.Module:
    """An untrained `InversionNetwork`, for a model.toml.

    Raises:
        ValueError: there is no such network, or it would be larger than any that makes sense.
    """
    if max(*code_shape, *widths, 0, 0) > _WIDEST:
        raise ValueError(f"codes and widths have at most {_WIDEST:,} channels")
    return InversionNetwork(code_shape, widths)


def _check(code_shape: Sequence[int], widths: Sequence[int]) -> None:
    if len(code_shape) not in {_VECTOR, _MAPS} or min(code_shape) < 1:
        raise ValueError(f"a code has the shape (C,) or (C, h, w), not {tuple(code_shape)}")
    if not 1 <= len(widths) <= _MOST_WIDTHS or min(widths) < 1:
        raise ValueError(f"widths are 1 to {_MOST_WIDTHS} numbers of channels, not {tuple(widths)}")


def _bias(part: nn.Conv2d | nn.Linear) -> Tensor:
    assert part.bias is not None
    return part.bias
