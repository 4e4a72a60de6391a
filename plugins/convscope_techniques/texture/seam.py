"""The line along which two overlapping patches differ least (Efros & Freeman 2001)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cheapest_seam", "kept_mask"]

Numbers = NDArray[np.floating]


def cheapest_seam(cost: Numbers) -> NDArray[np.intp]:
    """(rows,) the column in each row of the cheapest way down; one column to the side at most from row to row.

    E(i, j) = e(i, j) + min(E(i-1, j-1), E(i-1, j), E(i-1, j+1)); the way is traced back from the least of the last
    row.

    Args:
        cost: (rows, columns), non-negative.
    """
    total = np.array(cost, dtype=np.float64)
    for row in range(1, len(total)):
        above = np.pad(total[row - 1], 1, constant_values=np.inf)
        total[row] += np.minimum(np.minimum(above[:-2], above[1:-1]), above[2:])
    seam = np.empty(len(total), dtype=np.intp)
    seam[-1] = total[-1].argmin()
    for row in range(len(total) - 2, -1, -1):
        first = max(int(seam[row + 1]) - 1, 0)
        seam[row] = first + total[row, first : seam[row + 1] + 2].argmin()
    return seam


def kept_mask(cost: Numbers) -> NDArray[np.bool_]:
    """(rows, columns) True left of the cheapest seam: where the patch that was there first stays."""
    return np.asarray(np.arange(cost.shape[1])[None] < cheapest_seam(cost)[:, None])
