"""Pictures as points of pixel space: what neighbours are by colour and place alone."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from convscope_sdk.events import Event, Progress
from convscope_sdk.image_sets.index import Index

__all__ = ["BATCH", "pixel_space", "points_of"]

BATCH = 16


def pixel_space(index: Index, edge: int, *, done: int, total: int) -> Generator[Event, None, NDArray[np.uint8]]:
    """(n, 3 · edge · edge) every picture of an index as `points_of` it; yields Progress for every 16.

    Args:
        index: Of the set.
        edge: Pixels along an edge.
        done: Steps of the run before.
        total: Steps of the run.
    """
    found = np.empty((len(index), 3 * edge * edge), np.uint8)
    for start in range(0, len(index), BATCH):
        rows = range(start, min(start + BATCH, len(index)))
        found[rows.start : rows.stop] = points_of(index.pixels(rows), edge)
        yield Progress(done + start // BATCH + 1, total)
    return found


def points_of(pixels: Tensor, edge: int) -> NDArray[np.uint8]:
    """(B, 3 · edge · edge) pixels (B, 3, H, W) in [0, 1], averaged over areas, in 8 bits."""
    with torch.no_grad():
        small = adaptive_avg_pool2d(pixels, edge).flatten(1)
        return (255 * small).round().to(torch.uint8).cpu().numpy()
