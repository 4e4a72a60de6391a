"""One cell of a regular grid for each point, so that points stay as near to their places as can be."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT_UP_TO", "RegularGrid", "place"]

EXACT_UP_TO = 1024
"""Most points whose assignment is the best there is; beyond it takes minutes."""

_WINDOW = 16  # cells along the edge of what is reassigned at once
_SHIFTS = ((0, 0), (8, 8), (0, 8), (8, 0))
_LEAST_GAIN = 0.004  # of the cost, in a round over all shifts
_MOST_ROUNDS = 25

Floats = NDArray[np.float64]
Cells = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class RegularGrid:
    """Where each point went.

    Attributes:
        rows, columns: Of the grid; there are at least as many cells as points.
        cells: (N,) row · columns + column of each point, no two the same.
        cost: Sum over points of the squared distance to their cells, a cell's edge being 1.
        exact: Whether no assignment costs less.
    """

    rows: int
    columns: int
    cells: Cells
    cost: float
    exact: bool

    def images(self) -> Cells:
        """(rows, columns) which point is in each cell; -1 where it is empty."""
        found = np.full(self.rows * self.columns, -1, dtype=np.intp)
        found[self.cells] = np.arange(len(self.cells))
        return found.reshape(self.rows, self.columns)


def place(
    layout: NDArray[Any], rows: int | None = None, columns: int | None = None
) -> Generator[RegularGrid, None, RegularGrid]:
    """The grid of a layout (N, 2), as its value; yields what there is after every round of improvement.

    The layout is stretched over the grid, its first axis to the right and its second downwards. Up to `EXACT_UP_TO`
    points the sum of squared distances is the least there is (linear sum assignment). Beyond, points are halved by
    the median along the longer side until each has its cell, and then windows of 16 by 16 cells are assigned at
    their best in turn, until a round gains less than 0.4 %.

    Args:
        layout: (N, 2), of one point or more.
        rows: Of the grid; as many as are needed where absent.
        columns: Of the grid; the root of N where absent.
    """
    n = len(layout)
    columns = columns or math.ceil(math.sqrt(n))
    rows = rows or -(-n // columns)
    if rows * columns < n:
        raise ValueError(f"{rows} rows of {columns} cells are too few for {n} points")
    problem = _Problem(_stretched(layout, rows, columns), rows, columns)
    if n <= EXACT_UP_TO:
        return problem.grid(problem.best(np.arange(n), np.arange(rows * columns)), exact=True)
    cells = problem.halved()
    for _ in range(_MOST_ROUNDS):
        before = problem.cost(cells)
        problem.improve(cells)
        grid = problem.grid(cells, exact=False)
        yield grid
        if before - grid.cost <= _LEAST_GAIN * before:
            break
    return problem.grid(cells, exact=False)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Points (N, 2) in units of cells, x first, and the grid they go to."""

    points: Floats
    rows: int
    columns: int

    def centres(self, cells: Cells) -> Floats:
        return np.stack([cells % self.columns, cells // self.columns], axis=-1).astype(np.float64)

    def cost(self, cells: Cells) -> float:
        return float(((self.points - self.centres(cells)) ** 2).sum())

    def grid(self, cells: Cells, *, exact: bool) -> RegularGrid:
        return RegularGrid(self.rows, self.columns, cells.copy(), self.cost(cells), exact)

    def best(self, points: Cells, cells: Cells) -> Cells:
        """The cell of each of those points, at least cost; there are as many cells or more."""
        from scipy.optimize import linear_sum_assignment

        away = ((self.points[points, None] - self.centres(cells)[None]) ** 2).sum(-1)
        found: Cells = cells[linear_sum_assignment(away)[1]]
        return found

    def halved(self) -> Cells:
        """A beginning, in n log n: points and cells are split alike, again and again."""
        found = np.empty(len(self.points), dtype=np.intp)
        waiting = [(np.arange(len(self.points)), np.arange(self.rows * self.columns))]
        while waiting:
            points, cells = waiting.pop()
            if len(points) <= 1:
                found[points] = cells[: len(points)]
                continue
            centres = self.centres(cells)
            axis = int(np.argmax(np.ptp(centres, axis=0)))
            cells = cells[np.lexsort((centres[:, 1 - axis], centres[:, axis]))]
            points = points[np.argsort(self.points[points, axis], kind="stable")]
            half = len(cells) // 2
            share = min(half, max(len(points) - (len(cells) - half), round(len(points) * half / len(cells))))
            waiting += [(points[:share], cells[:half]), (points[share:], cells[half:])]
        return found

    def improve(self, cells: Cells) -> None:
        """Gives the points of each window the cells of it anew, at least cost; in place."""
        holder = np.full(self.rows * self.columns, -1, dtype=np.intp)
        holder[cells] = np.arange(len(cells))
        for down, across in _SHIFTS:
            for top in range(-down, self.rows, _WINDOW):
                for left in range(-across, self.columns, _WINDOW):
                    ys = np.arange(max(top, 0), min(top + _WINDOW, self.rows))
                    xs = np.arange(max(left, 0), min(left + _WINDOW, self.columns))
                    window = (ys[:, None] * self.columns + xs).ravel()
                    points = holder[window]
                    points = points[points >= 0]
                    cells[points] = self.best(points, window)
                    holder[window] = -1
                    holder[cells[points]] = points


def _stretched(layout: NDArray[Any], rows: int, columns: int) -> Floats:
    points = layout.astype(np.float64)
    points = points - points.min(0)
    extent = points.max(0)
    middle = np.array([columns - 1, rows - 1]) / 2
    scaled: Floats = np.where(extent > 0, points / np.where(extent > 0, extent, 1) * 2 * middle, middle)
    return scaled
