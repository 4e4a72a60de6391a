"""Octaves: the sizes at which a picture is worked on, and how it goes from one to the next."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["MIN_EDGE", "octave_sizes", "resized"]

MIN_EDGE = 32
"""No octave's shorter edge is below this many pixels: the total stride of the usual classifiers."""


def octave_sizes(height: int, width: int, count: int, scale: float) -> list[tuple[int, int]]:
    """At most `count` sizes (h, w), smallest first, each ⌊edge / scale^k⌋; the last is the picture's own.

    Octaves with an edge below `MIN_EDGE` are left out, but the picture's own size always stays.
    """
    sizes = [(int(height / scale**k), int(width / scale**k)) for k in range(count)]
    return [size for k, size in enumerate(sizes) if k == 0 or min(size) >= MIN_EDGE][::-1]


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) as (B, C, *size): bilinear (order 1), averaged over the source pixels where it shrinks."""
    height, width = pixels.shape[-2:]
    if (height, width) == size:
        return pixels
    shrinks = height > size[0] or width > size[1]
    return functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
