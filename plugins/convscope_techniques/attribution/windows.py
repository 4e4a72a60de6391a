"""A window slid over a picture: where it stands, what it covers, and maps of one value for each place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

__all__ = ["Box", "Windows"]


class Box(NamedTuple):
    """The pixels that a window covers: the first of its rows and the first after them, and likewise its columns."""

    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Windows:
    """Square windows in reading order, ceil((edge - window) / stride) + 1 along each edge, cut at the border.

    Attributes:
        rows: (ny, H) booleans: which picture rows the windows of each grid row cover.
        columns: (nx, W) likewise.
    """

    rows: torch.Tensor
    columns: torch.Tensor

    @classmethod
    def over(cls, height: int, width: int, window: int, stride: int, *, device: str | torch.device = "cpu") -> Windows:
        """The windows over a picture of `height` by `width` pixels."""
        return cls(*(_cover(edge, window, stride).to(device) for edge in (height, width)))

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def grid(self) -> tuple[int, int]:
        """(ny, nx)."""
        return len(self.rows), len(self.columns)

    def masks(self, start: int, stop: int) -> torch.Tensor:
        """(B, 1, H, W) booleans, True within each of the windows `start` to `stop`."""
        index = torch.arange(start, min(stop, len(self)), device=self.rows.device)
        rows, columns = self.rows[index // len(self.columns)], self.columns[index % len(self.columns)]
        return (rows[:, :, None] & columns[:, None, :])[:, None]

    def boxes(self, start: int, stop: int) -> list[Box]:
        """The pixels of the windows `start` to `stop`."""
        rows, columns = _spans(self.rows), _spans(self.columns)
        return [Box(rows[n // len(columns)], columns[n % len(columns)]) for n in range(start, min(stop, len(self)))]

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """(H, W) mean at each pixel of the values of the windows that cover it.

        Args:
            values: (n,) for the first n windows; where none of them covers a pixel it is 0.
        """
        rows, columns = self.rows.T.double(), self.columns.double()
        grids = values.new_zeros((2, len(self)), dtype=torch.float64)
        grids[0, : len(values)] = values
        grids[1, : len(values)] = 1
        sums = rows @ grids.view(2, *self.grid) @ columns
        return (sums[0] / sums[1].clamp(min=1)).to(values.dtype)


def _cover(edge: int, window: int, stride: int) -> torch.Tensor:
    starts = torch.arange(max(math.ceil((edge - window) / stride), 0) + 1)[:, None] * stride
    pixels = torch.arange(edge)
    return (pixels >= starts) & (pixels < starts + window)


def _spans(cover: torch.Tensor) -> list[tuple[int, int]]:
    starts = cover.int().argmax(1)
    return list(zip(starts.tolist(), (starts + cover.sum(1)).tolist(), strict=True))
