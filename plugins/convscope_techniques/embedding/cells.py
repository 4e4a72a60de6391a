"""Who is nearest among very many: only the likely ones are compared (an inverted file, Sivic & Zisserman 2003)."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope_sdk.image_sets.kept import Kept
from convscope_techniques.embedding.distances import Metric, Nearest, nearest, unit_rows

__all__ = ["EXACT_UP_TO", "Cells"]

EXACT_UP_TO = 500_000
"""Most rows that a query is compared with, all of them, unless it is asked for otherwise."""

Floats = NDArray[np.floating[Any]]

_TRAINED_ON = 40  # rows for each cell
_PROBED = 1 / 16  # of the rows are compared with a query, and what else is in the last cell
_LEAST = 101  # rows at least: the most neighbours that can be asked for, and the query itself
_TRIED = 32
_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows by the nearest of some centres; a query looks into the cells of the centres nearest to it.

    Attributes:
        centers: (cells, C) float32.
        rows: (n,) rows, those of one cell together, ascending.
        starts: (cells + 1,) where each cell begins in `rows`.
        hits: (32, 100) of some rows, taken at random, which of their nearest neighbours would be found; fewer where
            there are fewer.
    """

    centers: NDArray[np.float32]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    hits: NDArray[np.bool_]

    @staticmethod
    def steps_for(count: int) -> int:
        """Steps that making them for so many rows takes."""
        return len(_blocks(min(count, _cells_of(count) * _TRAINED_ON))) + len(_blocks(count)) + 1

    @classmethod
    def steps(
        cls, features: Floats, metric: Metric, kept: Kept, *, lengths: Floats | None = None
    ) -> Generator[int, None, Cells]:
        """The cells, after the numbers of the steps that making them took; at once where they are kept.

        Args:
            features: (n, C), n at least 2; may be larger than memory.
            metric: L2, or cosine.
            kept: Keeps them for the next time.
            lengths: (n,) squared lengths of the rows, where they are at hand.
        """
        name = f"cells-{metric}"
        if (found := kept.find(name)) is not None:
            return cls(**found)
        centers, done = yield from _centers(features, metric)
        owners = np.empty(len(features), np.int64)
        for block in _blocks(len(features)):
            owners[block] = _nearest_center(_single(features[block], metric), centers)
            yield (done := done + 1)
        rows = np.argsort(owners, kind="stable")
        starts = np.searchsorted(owners[rows], np.arange(len(centers) + 1))
        made = cls(centers, rows, starts, np.zeros((0, 0), np.bool_))
        hits = made._tried(features, metric, lengths)
        yield done + 1
        return cls(**kept.keep(name, {"centers": centers, "rows": rows, "starts": starts, "hits": hits}))

    def nearest(
        self,
        query: Floats,
        features: Floats,
        k: int,
        metric: Metric,
        *,
        but: int | None = None,
        lengths: Floats | None = None,
    ) -> Nearest:
        """As `distances.nearest` of one query (C,), among the rows of the likely cells.

        Distances are exact; neighbours in other cells are missed.
        """
        rows = self._likely(query, metric)
        rows = rows[rows != but]
        parts = []
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            squares = None if lengths is None else lengths[some]
            close = nearest(query[None], features[some], min(k, len(some)), metric, lengths=squares)
            parts.append((some[close.indices[0]], close.distances[0]))
        found, distances = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.lexsort((found, distances))[:k]
        return Nearest(found[order][None], distances[order][None])

    def recall(self, k: int) -> float:
        """The share of the k nearest that are found, by the queries that were tried."""
        return float(self.hits[:, :k].mean())

    def _likely(self, query: Floats, metric: Metric) -> NDArray[np.int64]:
        """Rows of the nearest cells, ascending: of as many as have a sixteenth of all rows, 101 at least."""
        order = nearest(_single(query[None], metric), self.centers, len(self.centers)).indices[0]
        sizes = np.cumsum(np.diff(self.starts)[order])
        cells = int(np.searchsorted(sizes, max(_LEAST, len(self.rows) * _PROBED))) + 1
        parts = [self.rows[self.starts[cell] : self.starts[cell + 1]] for cell in order[:cells]]
        return np.sort(np.concatenate(parts))

    def _tried(self, features: Floats, metric: Metric, lengths: Floats | None) -> NDArray[np.bool_]:
        count = len(features)
        tried = np.sort(np.random.default_rng(0).choice(count, min(count, _TRIED), replace=False))
        k = min(count, _LEAST) - 1
        exact = nearest(features[tried], features, k, metric, but=tried, lengths=lengths).indices
        likely = (self._likely(features[row], metric) for row in tried)
        return np.stack([np.isin(neighbors, rows) for neighbors, rows in zip(exact, likely, strict=True)])


def _centers(features: Floats, metric: Metric) -> Generator[int, None, tuple[NDArray[np.float32], int]]:
    """Means of some rows taken at random, and the steps that they took."""
    from sklearn.cluster import MiniBatchKMeans

    cells, rng = _cells_of(len(features)), np.random.default_rng(0)
    chosen = rng.choice(len(features), min(len(features), cells * _TRAINED_ON), replace=False)
    means = MiniBatchKMeans(cells, random_state=0, n_init=1)
    blocks = _blocks(len(chosen))
    for step, block in enumerate(blocks, 1):
        means.partial_fit(_single(features[np.sort(chosen[block])], metric))
        yield step
    return np.asarray(means.cluster_centers_, np.float32), len(blocks)


def _nearest_center(rows: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.intp]:
    closeness = rows @ centers.T - np.einsum("ij,ij->i", centers, centers) / 2
    return np.asarray(closeness.argmax(1), np.intp)


def _cells_of(count: int) -> int:
    return max(1, min(round(math.sqrt(count)), _ROWS // 2))


def _blocks(count: int) -> list[slice]:
    """Of nearly equal length, so that none has fewer rows than there are cells."""
    parts = -(-count // _ROWS)
    edges = np.linspace(0, count, parts + 1).astype(int).tolist()
    return [slice(start, end) for start, end in pairwise(edges)]


def _single(rows: Floats, metric: Metric) -> NDArray[np.float32]:
    if metric == "cosine":
        rows = unit_rows(rows)
    return np.ascontiguousarray(rows, np.float32)
