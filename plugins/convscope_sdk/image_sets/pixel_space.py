"""Pictures as points of pixel space, kept in an index as if a layer had made them."""

from __future__ import annotations

import re

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

__all__ = ["pixel_edge", "pixel_layer", "pixel_points"]

_NAME = re.compile(r"pixels ([1-9]\d*)")  # no module of a network has a blank in its name


def pixel_layer(edge: int) -> str:
    """What `ImageSet.index` takes, beside names of layers, for pictures averaged to `edge` pixels along an edge."""
    return f"pixels {edge}"


def pixel_edge(layer: str) -> int | None:
    """The edge that `pixel_layer` was given; None for the name of a layer."""
    found = _NAME.fullmatch(layer)
    return int(found[1]) if found else None


def pixel_points(pixels: Tensor, edge: int) -> Tensor:
    """(B, 3 · edge · edge) pixels (B, 3, H, W) in [0, 1], averaged over areas, in whole steps of 8 bits."""
    with torch.no_grad():
        return (255 * adaptive_avg_pool2d(pixels, edge).flatten(1)).round()
