"""The part of a picture that a unit sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope_sdk.layers import LayerInfo

__all__ = ["Box", "seen_by"]

_GREY = 0.5


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a picture's pixels, the last two exclusive; it may reach outside the picture."""

    top: int
    left: int
    bottom: int
    right: int

    def crop(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """(C, h, w) what of a picture (C, H, W) is in the box, the box at its place, grey where there is no picture.

        Where the box holds the whole of an axis and more, as deep layers' do, the grey around is left out.
        """
        height, width = pixels.shape[-2:]
        top, bottom = _trimmed(self.top, self.bottom, height)
        left, right = _trimmed(self.left, self.right, width)
        patch = np.full((len(pixels), bottom - top, right - left), _GREY, pixels.dtype)
        inside = np.s_[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
        seen = pixels[(slice(None), *inside)]
        down, across = max(-top, 0), max(-left, 0)
        patch[:, down : down + seen.shape[1], across : across + seen.shape[2]] = seen
        return patch


def seen_by(layer: LayerInfo, position: tuple[int, int], size: tuple[int, int]) -> Box:
    """The exact receptive field of a position; the whole picture of that size where the layer may see everything."""
    if layer.receptive_field is None:
        return Box(0, 0, *size)
    return Box(*layer.receptive_field.box(*position))


def _trimmed(start: int, end: int, edge: int) -> tuple[int, int]:
    return (0, edge) if start <= 0 and end >= edge else (start, end)
