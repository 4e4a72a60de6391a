"""Small square pictures of an image set, at their places."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from convscope_sdk.events import Event, Progress
from convscope_sdk.image_sets.index import Index

__all__ = ["BATCH", "grid_of", "resized", "scatter_of", "thumbnails"]

BATCH = 16
_LARGEST_SHEET = 4096
_SHARE = 0.62  # of the room that a picture would have if they lay evenly
_SMALLEST, _LARGEST = 12, 128
_PAPER = 255

Pictures = NDArray[np.uint8]


def thumbnails(index: Index, layer: str, edge: int, *, done: int, total: int) -> Generator[Event, None, Pictures]:
    """(n, edge, edge, 3) the middle square of each picture of an index; yields Progress for every 16.

    They are kept: the next time no picture is opened.

    Args:
        index: Of the set.
        layer: A layer in it, with whose part they are kept.
        edge: In pixels.
        done: Steps of the run before.
        total: Steps of the run.
    """
    kept, name = index.kept(layer), f"thumbnails-{edge}"
    if (there := kept.find(name)) is not None:
        return there["pictures"]
    found = np.empty((len(index), edge, edge, 3), np.uint8)
    for row in range(len(index)):
        found[row] = np.asarray(ImageOps.fit(index.picture(row), (edge, edge), Image.Resampling.BOX, 0))
        if row % BATCH == BATCH - 1 or row == len(index) - 1:
            yield Progress(done + row // BATCH + 1, total)
    return kept.keep(name, {"pictures": found})["pictures"]


def scatter_of(layout: NDArray[Any], pictures: Pictures, size: int) -> Pictures:
    """(3, size, size) pictures at their places, one over the other, on white. Proportions of the layout are kept."""
    edge = int(min(max(_SHARE * size / math.sqrt(len(pictures)), _SMALLEST), _LARGEST, size // 2))
    canvas = np.full((size, size, 3), _PAPER, np.uint8)
    points = layout.astype(np.float64)
    middle = (points.max(0) + points.min(0)) / 2
    extent = float(np.ptp(points, axis=0).max()) or 1.0
    corners = np.rint(((points - middle) / extent + 0.5) * (size - edge)).astype(int)
    for (left, top), picture in zip(corners, resized(pictures, edge), strict=True):
        canvas[top : top + edge, left : left + edge] = picture
    return canvas.transpose(2, 0, 1)


def grid_of(images: NDArray[np.intp], pictures: Pictures) -> Pictures:
    """(3, rows · edge, columns · edge) one picture in each cell, side by side; cells of -1 are white."""
    edge = max(1, min(pictures.shape[1], _LARGEST_SHEET // max(images.shape)))
    small = np.concatenate([resized(pictures, edge), np.full((1, edge, edge, 3), _PAPER, np.uint8)])
    rows, columns = images.shape
    return small[images].transpose(4, 0, 2, 1, 3).reshape(3, rows * edge, columns * edge)


def resized(pictures: Pictures, edge: int) -> Pictures:
    """(n, edge, edge, 3)."""
    if pictures.shape[1] == edge:
        return pictures
    return np.stack([np.asarray(Image.fromarray(p).resize((edge, edge), Image.Resampling.BOX)) for p in pictures])
