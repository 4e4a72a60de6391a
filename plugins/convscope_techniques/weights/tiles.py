"""A layer's weight cut into small pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

__all__ = ["Scale", "Tiles"]

Scale = Literal["per_filter", "global"]

_RGB = 3
_MATRIX_COLUMNS = 1024


@dataclass(frozen=True, slots=True)
class Tiles:
    """Pictures of a weight.

    Attributes:
        weights: (N, C, h, w) raw weights; C is 3 where the filters see RGB, else 1.
        sources: (out, in) of each tile; in is None where the tile is the whole filter. Empty where the one
            tile is a matrix, a row for each filter.
        complete: False where the bound left some out.
    """

    weights: torch.Tensor
    sources: tuple[tuple[int, int | None], ...]
    complete: bool

    @classmethod
    def of(cls, weight: torch.Tensor, k: int) -> Tiles:
        """At most `k` tiles of a weight (out, in, …); one matrix of at most `k` rows where it has no positions."""
        if weight.ndim == 3:  # noqa: PLR2004 - (out, in, length): one row
            weight = weight[:, :, None]
        outputs, inputs = weight.shape[:2]
        if weight.shape[2:].numel() == 1 and inputs != _RGB:
            drawn = weight.flatten(1)[:k, :_MATRIX_COLUMNS]
            return cls(drawn[None, None], (), drawn.numel() == weight.numel())
        if inputs == _RGB:
            return cls(weight[:k], tuple((o, None) for o in range(min(k, outputs))), k >= outputs)
        drawn = weight.flatten(0, 1)[:k, None]
        pairs = (divmod(i, inputs) for i in range(len(drawn)))
        sources = tuple((o, i if inputs > 1 else None) for o, i in pairs)
        return cls(drawn, sources, k >= outputs * inputs)

    def ranges(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Smallest and largest weight of each tile, (N,) both."""
        low, high = self.weights.flatten(1).aminmax(dim=1)
        return low, high

    def scaled(self, scale: Scale, limit: float) -> torch.Tensor:
        """The tiles in [0, 1]: each over its own range, or all over [-limit, limit]; constant ones are grey."""
        if scale == "global":
            return (self.weights / limit + 1) / 2
        low, high = (bound[:, None, None, None] for bound in self.ranges())
        return torch.where(high > low, (self.weights - low) / (high - low), 0.5)
