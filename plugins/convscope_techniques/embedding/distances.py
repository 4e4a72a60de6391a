"""Distances between features, and who is nearest, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Metric", "Nearest", "compared", "nearest", "neighbors_in", "unit_rows"]

Metric = Literal["l2", "cosine"]
Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.intp]

_QUERIES = 256
_AT_ONCE = 2**26  # rough distances in memory
_ROWS = 8192
_NEARLY_SAME = 1e-6  # of the squared lengths: below, the difference of large numbers is noise
_PAIRS = 4096


@dataclass(frozen=True, slots=True)
class Nearest:
    """The k nearest of each query, nearest first, of equal ones the smaller index first.

    Attributes:
        indices: (Q, k).
        distances: (Q, k) L2, or one minus the cosine.
    """

    indices: Rows
    distances: NDArray[np.float64]


def nearest(
    queries: Floats,
    features: Floats,
    k: int,
    metric: Metric = "l2",
    *,
    but: NDArray[np.integer[Any]] | None = None,
    lengths: Floats | None = None,
) -> Nearest:
    """The k rows of `features` (N, C) nearest to each row of `queries` (Q, C), by comparison with every one.

    Single precision finds everyone who may be among them, double precision says who is. `features` may be larger
    than memory.

    Args:
        queries: (Q, C).
        features: (N, C).
        k: At most N, or N - 1 with `but`.
        metric: L2, or cosine; nothing but zeros has cosine 0 with everything else.
        but: (Q,) a row that is not looked at for each query: itself.
        lengths: (N,) squared lengths of the rows in single precision, where they are at hand: saves half the time.
    """
    indices, distances = [], []
    at_once = max(1, min(_QUERIES, _AT_ONCE // max(1, len(features))))
    for start in range(0, len(queries), at_once):
        asked = queries[start : start + at_once]
        rough, slack = _rough(asked, features, metric, lengths)
        if but is not None:
            rough[np.arange(len(asked)), but[start : start + at_once]] = np.inf
        limits = np.partition(rough, k - 1, axis=1)[:, k - 1] + slack
        for query, values, limit in zip(asked, rough, limits, strict=True):
            rows = np.flatnonzero(values <= limit)
            exact = compared(query[None], features[rows], metric)[0]
            order = np.argsort(exact, kind="stable")[:k]
            indices.append(rows[order])
            distances.append(exact[order])
    return Nearest(np.stack(indices), np.stack(distances))


def neighbors_in(
    points: Floats, k: int, metric: Metric = "l2", *, of: Rows | None = None, lengths: Floats | None = None
) -> Rows:
    """(Q, k) the nearest other rows of each row, or of the rows `of`; nearest first, ties by index."""
    rows = np.arange(len(points)) if of is None else of
    return nearest(points[rows], points, k, metric, but=rows, lengths=lengths).indices


def compared(queries: Floats, features: Floats, metric: Metric = "l2") -> NDArray[np.float64]:
    """(Q, N) distances in double precision; those of the same pictures are exactly 0."""
    a, b = queries.astype(np.float64), features.astype(np.float64)
    if metric == "cosine":
        a, b = unit_rows(a), unit_rows(b)
    lengths = (a * a).sum(1)[:, None] + (b * b).sum(1)[None]
    squared = lengths - 2 * (a @ b.T)
    rows, columns = np.nonzero(squared <= _NEARLY_SAME * lengths)
    for start in range(0, len(rows), _PAIRS):
        i, j = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
        squared[i, j] = ((a[i] - b[j]) ** 2).sum(1)
    if metric == "cosine":
        half: NDArray[np.float64] = (squared + _lacking((a * a).sum(1), (b * b).sum(1))) / 2
        return half
    roots: NDArray[np.float64] = np.sqrt(squared)
    return roots


def unit_rows(rows: Floats) -> NDArray[np.float64]:
    """Rows of length 1, made some at a time, so that a million take the memory of what is given back alone.

    Rows of nothing but zeros stay.
    """
    found = np.zeros(rows.shape, np.float64)
    for start in range(0, len(rows), _ROWS):
        wide = rows[start : start + _ROWS].astype(np.float64)
        length = np.linalg.norm(wide, axis=1, keepdims=True)
        np.divide(wide, length, out=found[start : start + _ROWS], where=length > 0)
    return found


def _rough(
    queries: Floats, features: Floats, metric: Metric, lengths: Floats | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(Q, N) squared distances in single precision, and (Q,) twice the most that they can be wrong."""
    asked = _single(queries, metric)
    own = _squares(asked)
    found = np.empty((len(asked), len(features)), np.float32)
    longest = np.float32(1 if metric == "cosine" else 0)
    for start in range(0, len(features), _ROWS):
        block = np.asarray(features[start : start + _ROWS], np.float32)
        squares = _squares(block) if lengths is None else lengths[start : start + _ROWS]
        values = found[:, start : start + _ROWS]
        np.matmul(-2 * asked, block.T, out=values)
        if metric == "cosine":
            # The squared chord of two rows of length 1; nothing but zeros has cosine 0 with everything but its like.
            values *= np.divide(1, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
            values += np.where((own < 0.5)[:, None] & (squares == 0), 0, 2)  # noqa: PLR2004 - lengths are 0 or 1
        else:
            values += squares
            values += own[:, None]
            longest = max(longest, squares.max())
    error = (queries.shape[1] + 4) * np.finfo(np.float32).eps * (np.sqrt(own) + np.sqrt(longest)) ** 2
    return found, 2 * error


def _squares(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) squared lengths."""
    found: NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows)
    return found


def _lacking(own: Floats, lengths: Floats) -> NDArray[np.bool_]:
    """(Q, N) where one of the two is nothing but zeros: what its squared distance to a row of length 1 lacks of 2."""
    lacking: NDArray[np.bool_] = (own < 0.5)[:, None] != (lengths < 0.5)[None]  # noqa: PLR2004 - lengths are 0 or 1
    return lacking


def _single(rows: Floats, metric: Metric) -> NDArray[np.float32]:
    if metric == "cosine":
        return unit_rows(rows).astype(np.float32)
    return np.asarray(rows, np.float32)
