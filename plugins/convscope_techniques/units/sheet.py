"""A block of patches for each channel of a layer."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope_sdk.events import Event, Progress
from convscope_sdk.image_sets.index import Index
from convscope_sdk.layers import LayerInfo
from convscope_sdk.pictures import to_picture
from convscope_techniques.units.patch import Box, seen_by

__all__ = ["channel_sheet"]

_LEAST, _MOST = 24, 64
_BATCH = 16
_MAP_NDIM = 3
_PAPER = 228


def channel_sheet(index: Index, layer: LayerInfo, channels: int, k: int) -> Generator[Event, None, list[Any]]:
    """For each of the first channels a square of its k strongest patches, row by row, (3, e, e) in 8 bits.

    Every picture is read once, however many channels it excites. Yields Progress.
    """
    top = index.top(layer.name, k)
    rows = top.rows[:channels]
    edge, side = _edge(layer), math.ceil(math.sqrt(k))
    blocks = np.full((channels, 3, side * edge, side * edge), _PAPER, np.uint8)
    needed = np.unique(rows)
    done, total = len(index.image_set), len(index.image_set) + -(-len(needed) // _BATCH)
    for count, row in enumerate(needed.tolist(), 1):
        pixels = index.pixels([row])[0].cpu().numpy()
        for channel, rank in np.argwhere(rows == row).tolist():
            box = _box(layer, top.positions[channel, rank], pixels)
            down, across = divmod(rank, side)
            place = np.s_[down * edge : (down + 1) * edge, across * edge : (across + 1) * edge]
            blocks[(channel, slice(None), *place)] = _fitted(box.crop(pixels), edge)
        if count % _BATCH == 0 or count == len(needed):
            yield Progress(done + -(-count // _BATCH), total)
    return list(blocks)


def _edge(layer: LayerInfo) -> int:
    field = layer.receptive_field
    return _MOST if field is None else min(max(*field.size, _LEAST), _MOST)


def _box(layer: LayerInfo, position: NDArray[np.int64], pixels: NDArray[Any]) -> Box:
    if len(layer.output_shape) != _MAP_NDIM:
        return Box(0, 0, *pixels.shape[-2:])
    return seen_by(layer, (int(position[0]), int(position[1])), (pixels.shape[-2], pixels.shape[-1]))


def _fitted(patch: NDArray[Any], edge: int) -> NDArray[np.uint8]:
    picture = to_picture(patch)
    method = Image.Resampling.NEAREST if max(picture.size) < edge else Image.Resampling.BOX
    return np.asarray(picture.resize((edge, edge), method)).transpose(2, 0, 1)
