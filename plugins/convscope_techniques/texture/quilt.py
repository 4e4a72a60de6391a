"""A texture sewn together of overlapping patches (Efros & Freeman 2001)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope_techniques.texture.seam import kept_mask

__all__ = ["Quilt"]

Floats = NDArray[np.float64]
_LEAST = 1e-9  # below it an overlap is the same but for rounding


class Quilt:
    """The state of one synthesis; `Quilt.run` fills it, left to right and top to bottom. It can be put down anywhere.

    Args:
        sample: (h, w, 3) floats in [0, 1].
        size: (H, W) of the texture.
        window: Edge of the square patches; at most the sample's shorter edge.
        overlap: Pixels that neighbours share; less than `window`.
        rng: Picks one of the patches that fit.
        tolerance: Patches with an overlap error up to 1 + this times the least fit.

    Attributes:
        laid: Patches that are there.
        errors: Mean squared difference in the overlap of each of them, the first one excepted.
        sources: (H, W, 2) row and column of the sample that each pixel was copied from; -1 where there is none yet.
    """

    def __init__(
        self,
        sample: NDArray[np.floating],
        size: tuple[int, int],
        window: int,
        overlap: int,
        rng: np.random.Generator,
        *,
        tolerance: float = 0.1,
    ) -> None:
        self.laid = 0
        self.errors: list[float] = []
        self._size, self._window, self._overlap = size, window, overlap
        self._rng, self._tolerance = rng, tolerance
        self._sample = np.asarray(sample, dtype=np.float64)
        self._spectrum = np.fft.rfft2(self._sample, axes=(0, 1))
        self._squares = np.fft.rfft2(np.square(self._sample).sum(-1))
        step = window - overlap
        self._corners = [
            (row, column)
            for row in range(0, max(size[0] - overlap, 1), step)
            for column in range(0, max(size[1] - overlap, 1), step)
        ]
        height, width = (self._corners[-1][axis] + window for axis in (0, 1))
        self._texture = np.full((height, width, 3), 0.5)
        self._sources = np.full((height, width, 2), -1)
        self._norms: dict[tuple[bool, bool], Floats] = {}

    def __len__(self) -> int:
        return len(self._corners)

    @property
    def texture(self) -> Floats:
        """(H, W, 3) as far as it is sewn; grey elsewhere."""
        return self._texture[: self._size[0], : self._size[1]]

    @property
    def sources(self) -> NDArray[np.intp]:
        """(H, W, 2), as above."""
        return self._sources[: self._size[0], : self._size[1]]

    def run(self) -> Iterator[int]:
        """Sews from where it is to the end, one patch for each value: how many there are now."""
        for row, column in self._corners[self.laid :]:
            self._lay(row, column, *self._chosen(row, column))
            self.laid += 1
            yield self.laid

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here, beside the random generator."""
        return {"laid": self.laid, "errors": np.array(self.errors), "sources": self._sources}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be where another quilt, of the same sample and as large, was.

        Raises:
            ValueError: it was of another size.
        """
        self._sources[:] = state["sources"]
        there = self._sources[..., 0] >= 0
        self._texture[there] = self._sample[tuple(self._sources[there].T)]
        self.laid, self.errors = state["laid"], state["errors"].tolist()

    def _chosen(self, row: int, column: int) -> tuple[int, int]:
        """Corner, in the sample, of a patch that fits what lies there already."""
        positions = tuple(edge - self._window + 1 for edge in self._sample.shape[:2])
        if not row and not column:
            return int(self._rng.integers(positions[0])), int(self._rng.integers(positions[1]))
        errors = self._overlap_errors(row, column)
        least = max(float(errors.min()), 0)
        fitting = np.argwhere(errors <= least * (1 + self._tolerance) + _LEAST)
        top, left = fitting[self._rng.integers(len(fitting))]
        self.errors.append(max(float(errors[top, left]), 0))
        return int(top), int(left)

    def _overlap_errors(self, row: int, column: int) -> Floats:
        """Mean squared difference of the overlap for each corner of the sample: three correlations, by FFT."""
        known = self._shared(row, column)
        edge = self._window
        template = self._texture[row : row + edge, column : column + edge] * known[..., None]
        size = self._sample.shape[:2]
        pattern = np.fft.rfft2(template, size, axes=(0, 1)).conj()
        cross = np.fft.irfft2((self._spectrum * pattern).sum(-1), size)
        key = bool(row), bool(column)
        if key not in self._norms:
            self._norms[key] = np.fft.irfft2(self._squares * np.fft.rfft2(known, size).conj(), size)
        distances = self._norms[key] - 2 * cross + np.square(template).sum()
        valid = distances[: size[0] - edge + 1, : size[1] - edge + 1]
        return np.asarray(valid / (3 * known.sum()))

    def _shared(self, row: int, column: int) -> NDArray[np.bool_]:
        shared = np.zeros((self._window, self._window), dtype=bool)
        shared[: self._overlap if row else 0] = True
        shared[:, : self._overlap if column else 0] = True
        return shared

    def _lay(self, row: int, column: int, top: int, left: int) -> None:
        """Copies the patch right of and below its seams."""
        edge = self._window
        patch = self._sample[top : top + edge, left : left + edge]
        place = slice(row, row + edge), slice(column, column + edge)
        fresh = ~self._kept(row, column, np.square(self._texture[place] - patch).sum(-1))
        self._texture[place][fresh] = patch[fresh]
        origin = np.moveaxis(np.indices((edge, edge)), 0, -1) + np.array((top, left))
        self._sources[place][fresh] = origin[fresh]

    def _kept(self, row: int, column: int, cost: Floats) -> NDArray[np.bool_]:
        kept = np.zeros(cost.shape, dtype=bool)
        if column:
            kept[:, : self._overlap] |= kept_mask(cost[:, : self._overlap])
        if row:
            kept[: self._overlap] |= kept_mask(cost[: self._overlap].T).T
        return kept
