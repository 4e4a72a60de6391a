"""How much of who is whose neighbour survives in a layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope_techniques.embedding.distances import Metric, compared, neighbors_in, unit_rows

__all__ = ["accuracy", "continuity", "precision", "trustworthiness"]

_BLOCK = 256
_ROWS = 8192
_DISTANCES = 2**25  # in memory at once

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.intp]


def trustworthiness(
    features: Floats, layout: Floats, k: int, metric: Metric = "l2", *, of: Rows | None = None
) -> float:
    """How far those who are neighbours in the layout are so in the features, 0 to 1 (Venna & Kaski 2001).

    1 minus the mean, scaled so that the worst is 0, over a point's k neighbours in the layout of
    max(0, rank in the features - k).

    Args:
        features: (n, C).
        layout: (n, 2).
        k: Neighbours, less than n / 2.
        metric: Of the features; the layout's is L2.
        of: The points whose neighbours are looked at; everyone's where absent.
    """
    n = len(features)
    rows = np.arange(n) if of is None else of
    close = neighbors_in(layout, k, of=rows)
    beyond = 0
    at_once = max(1, min(_BLOCK, _DISTANCES // n))
    for start in range(0, len(rows), at_once):
        mine, theirs = rows[start : start + at_once], close[start : start + at_once]
        parts = [compared(features[mine], features[begin : begin + _ROWS], metric) for begin in range(0, n, _ROWS)]
        distances = np.concatenate(parts, axis=1)
        distances[np.arange(len(mine)), mine] = np.inf
        for column in theirs.T:
            beyond += int(np.maximum(_rank(distances, column) - k, 0).sum())
    return 1 - 2 * beyond / (len(rows) * k * (2 * n - 3 * k - 1))


def continuity(features: Floats, layout: Floats, k: int, metric: Metric = "l2", *, of: Rows | None = None) -> float:
    """How far those who are neighbours in the features are so in the layout: `trustworthiness` the other way round."""
    if metric == "cosine":  # neighbours by angle are neighbours on the sphere
        features = unit_rows(features)
    return trustworthiness(layout, features, k, of=of)


def accuracy(points: Floats, labels: Sequence[str], k: int, metric: Metric = "l2", *, of: Rows | None = None) -> float:
    """The share of points whose label is the commonest among their k nearest others; of equals, the nearest's."""
    rows = np.arange(len(points)) if of is None else of
    close = neighbors_in(points, k, metric, of=rows)
    right = [_vote([labels[j] for j in near]) == labels[row] for row, near in zip(rows, close, strict=True)]
    return float(np.mean(right))


def precision(indices: NDArray[np.integer[Any]], labels: Sequence[str], wanted: Sequence[str]) -> float:
    """The mean share of neighbours (Q, k) that have the label wanted of their query."""
    return float(np.mean([[labels[j] == label for j in row] for row, label in zip(indices, wanted, strict=True)]))


def _rank(distances: NDArray[np.float64], column: Rows) -> Rows:
    """(B,) the place, from 1, of one neighbour of each row when all are put in order; ties by index."""
    value = distances[np.arange(len(column)), column][:, None]
    before = np.arange(distances.shape[1])[None] < column[:, None]
    found: Rows = ((distances < value) | ((distances == value) & before)).sum(1) + 1
    return found


def _vote(labels: Sequence[str]) -> str:
    return max(dict.fromkeys(labels), key=labels.count)
