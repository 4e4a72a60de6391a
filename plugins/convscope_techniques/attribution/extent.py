"""How a map's values are spread, for the report."""

from __future__ import annotations

from torch import Tensor

from convscope_sdk.events import Scores

__all__ = ["extent"]


def extent(values: Tensor) -> Scores:
    """Of a map, (H, W): its range, and the fractions of pixels above 0 and of at least half its largest magnitude."""
    magnitude = values.detach().abs()
    largest = magnitude.max()
    near = (magnitude >= largest / 2) & (magnitude > 0)
    return Scores(
        {
            "map_min": float(values.min()),
            "map_max": float(values.max()),
            "map_positive": float((values > 0).float().mean()),
            "map_half_area": float(near.float().mean()),
        }
    )
