"""Whether a map points at the object."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope_sdk.events import Scores
from convscope_techniques.attribution.ground_truth import iou

__all__ = ["TOLERANCE", "highest", "localisation", "points_at"]

TOLERANCE = 15
"""Pixels that the highest point may lie beside the object (Zhang et al. 2016, the pointing game)."""


def localisation(values: Tensor, mask: Tensor) -> Scores:
    """Of a map and the truth, (H, W): the pointing game, and the IoU of the mask with as many of the highest pixels."""
    return Scores(
        {
            "pointing_game": float(points_at(values, mask, TOLERANCE)),
            "mask_iou": iou(highest(values, int(mask.sum())), mask),
            "mask_fraction": float(mask.float().mean()),
        }
    )


def points_at(values: Tensor, mask: Tensor, tolerance: float) -> bool:
    """Whether the map's highest pixel, the first of several, is within `tolerance` pixels of the mask."""
    row, column = divmod(int(values.argmax()), values.shape[1])
    rows, columns = mask.nonzero(as_tuple=True)
    nearest = (rows - row).square() + (columns - column).square()
    return bool(nearest.min() <= tolerance**2)


def highest(values: Tensor, count: int) -> Tensor:
    """(H, W) booleans, True at the `count` highest pixels; of equal ones the first in reading order."""
    chosen = torch.zeros_like(values, dtype=torch.bool).flatten()
    chosen[values.flatten().argsort(descending=True, stable=True)[:count]] = True
    return chosen.view_as(values)
