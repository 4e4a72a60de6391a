"""The labelling of a picture of least energy, by a minimum cut (Boykov & Jolly 2001)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

__all__ = ["Grid"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_FINEST = 1000.0  # whole numbers in one unit of energy
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Grid:
    """Which pixels of a picture are neighbours, 8 of each, and what it costs to part them.

    Attributes:
        first, second: (E,) indices of the pixels of each pair, in reading order.
        weights: (E,) gamma / distance * exp(-beta |difference of colours|^2).
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    weights: Floats

    @classmethod
    def over(cls, picture: Floats, gamma: float) -> Grid:
        """The grid over an (H, W, 3) picture; beta is 1 / (2 mean of |difference|^2), as in Rother et al. 2004."""
        height, width = picture.shape[:2]
        index = np.arange(height * width, dtype=np.int32).reshape(height, width)
        straight = ((index[:, :-1], index[:, 1:]), (index[:-1], index[1:]))
        diagonal = ((index[:-1, :-1], index[1:, 1:]), (index[:-1, 1:], index[1:, :-1]))
        first, second = (np.concatenate([pair[side].ravel() for pair in straight + diagonal]) for side in (0, 1))
        distance = np.full(len(first), math.sqrt(2))
        distance[: sum(pair[0].size for pair in straight)] = 1
        flat = picture.reshape(-1, 3)
        squares = np.square(flat[first] - flat[second]).sum(1)
        mean = float(squares.mean())
        beta = 1 / (2 * mean) if mean > 0 else 0.0
        return cls(first, second, gamma / distance * np.exp(-beta * squares))

    def energy(self, labels: Bools, foreground: Floats, background: Floats) -> float:
        """Of (N,) labels, True for the foreground, with what each pixel costs in either, (N,) both."""
        parted = labels[self.first] != labels[self.second]
        return float(np.where(labels, foreground, background).sum() + self.weights[parted].sum())

    def cut(self, foreground: Floats, background: Floats) -> Bools:
        """(N,) labels of least energy, True for the foreground, with what each pixel costs in either, (N,) both.

        Energies are counted in thousandths, or in coarser parts where the sum would not fit into 32 bits.
        """
        count = len(foreground)
        source, sink = count, count + 1
        above = background - foreground  # what both sides cost in common changes nothing
        fitting = _LARGEST / (2 + min(np.maximum(above, 0).sum(), np.maximum(-above, 0).sum()))
        scale = min(_FINEST, fitting, _LARGEST / (2 + np.abs(above).max(initial=0)))
        terminal, neighbour = (np.rint(scale * part).astype(np.int32) for part in (above, self.weights))
        inside, outside = np.flatnonzero(terminal > 0), np.flatnonzero(terminal < 0)
        rows = (self.first, self.second, np.full(len(inside), source), outside)
        columns = (self.second, self.first, inside, np.full(len(outside), sink))
        values = (neighbour, neighbour, terminal[inside], -terminal[outside])
        graph = sparse.csr_matrix(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(count + 2, count + 2)
        )
        residual = graph - csgraph.maximum_flow(graph, source, sink).flow
        residual.eliminate_zeros()
        reached = csgraph.breadth_first_order(residual, source, return_predecessors=False)
        labels = np.zeros(count + 2, dtype=np.bool_)
        labels[reached] = True
        return labels[:count]
