"""A texture that grows outward from a seed, pixel by pixel (Efros & Leung 1999)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from convscope_techniques.texture.candidates import Candidates, Floats

__all__ = ["Growth"]

_RELAX = 1.1
_UNKNOWN = -1


class Growth:
    """The state of one synthesis; `Growth.run` fills it. It can be put down after any pixel.

    Args:
        sample: (h, w, 3) floats in [0, 1].
        size: (H, W) of the texture.
        window: Edge of the neighbourhood, odd; at most the sample's shorter edge.
        rng: Picks the seed, the order among equals, and one of the best matches.
        error_threshold: Windows with an error up to 1 + this times the least are matches (ErrThreshold).
        max_error: A match above this is not taken (MaxErrThreshold); raised by a tenth when a pass takes none.

    Attributes:
        sources: (H, W, 2) row and column of the sample that each pixel was copied from; -1 where there is none yet.
        errors: Of the matches taken so far, in the order of their pixels.
        max_error: As it stands.
        relaxed: How many times it has been raised.
    """

    def __init__(
        self,
        sample: Floats,
        size: tuple[int, int],
        window: int,
        rng: np.random.Generator,
        *,
        error_threshold: float = 0.1,
        max_error: float = 0.3,
    ) -> None:
        self.errors: list[float] = []
        self.max_error = max_error
        self.relaxed = 0
        self._sample, self._window, self._rng = sample, window, rng
        self._threshold = error_threshold
        self._candidates = Candidates(sample, window)
        half = window // 2
        # A margin around the texture that is never known saves all handling of borders.
        self._canvas = np.zeros((size[0] + 2 * half, size[1] + 2 * half, 3), np.float32)
        self._known = np.zeros(self._canvas.shape[:2], dtype=bool)
        self._texture = self._canvas[half : half + size[0], half : half + size[1]]
        self._filled = self._known[half : half + size[0], half : half + size[1]]
        self.sources = np.full((*size, 2), _UNKNOWN)
        self._ahead = np.empty((0, 2), np.intp)  # pixels that the pass under way has still to try
        self._plant()

    @property
    def filled(self) -> int:
        """Pixels that are there."""
        return int(self._filled.sum())

    def texture(self, *, unfilled: float = 0.5) -> Floats:
        """(H, W, 3) as far as it has grown; grey elsewhere."""
        return np.where(self._filled[..., None], self._texture, np.float32(unfilled))

    def run(self) -> Iterator[float]:
        """Grows from where it is to the end, one pixel for each value: the error of the match taken."""
        yield from self._rest_of_pass()
        while not self._filled.all():
            self._ahead, before = self._frontier(), len(self.errors)
            yield from self._rest_of_pass()
            if len(self.errors) == before:
                self.max_error *= _RELAX
                self.relaxed += 1

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here, beside the random generator."""
        return {
            "sources": self.sources,
            "errors": np.array(self.errors),
            "ahead": self._ahead,
            "max_error": self.max_error,
            "relaxed": self.relaxed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be where another growth, of the same sample to the same size, was.

        Raises:
            ValueError: it was of another size.
        """
        self.sources[:] = state["sources"]
        self._filled[:] = self.sources[..., 0] != _UNKNOWN
        self._texture[self._filled] = self._sample[tuple(self.sources[self._filled].T)]
        self.errors = state["errors"].tolist()
        self._ahead, self.max_error, self.relaxed = state["ahead"], state["max_error"], state["relaxed"]

    def _rest_of_pass(self) -> Iterator[float]:
        while len(self._ahead):
            (row, column), self._ahead = self._ahead[0], self._ahead[1:]
            error = self._fill(row, column)
            if error is not None:
                self.errors.append(error)
                yield error

    def _plant(self) -> None:
        """A 3x3 seed from anywhere in the sample, in the middle; smaller where the texture is."""
        height, width = self._filled.shape
        edges = min(3, height), min(3, width)
        top, left = (height - edges[0]) // 2, (width - edges[1]) // 2
        row = int(self._rng.integers(self._sample.shape[0] - edges[0] + 1))
        column = int(self._rng.integers(self._sample.shape[1] - edges[1] + 1))
        for dy in range(edges[0]):
            for dx in range(edges[1]):
                self._copy(top + dy, left + dx, (row + dy, column + dx))

    def _frontier(self) -> NDArray[np.intp]:
        """Unfilled pixels beside filled ones, most filled neighbours first, equals in random order."""
        around = sliding_window_view(np.pad(self._filled, 1), (3, 3)).sum((2, 3))
        pixels = np.argwhere(~self._filled & (around > 0))
        pixels = self._rng.permutation(pixels)
        order = np.argsort(-around[pixels[:, 0], pixels[:, 1]], kind="stable")
        return np.asarray(pixels[order])

    def _fill(self, row: int, column: int) -> float | None:
        """The error of the match that the pixel was copied from, or None where the best is not good enough."""
        window = slice(row, row + self._window), slice(column, column + self._window)
        matches, errors = self._candidates.best(self._canvas[window], self._known[window], self._threshold)
        pick = int(self._rng.integers(len(matches)))
        if not errors[pick] < self.max_error:
            return None
        centre = self._candidates.centres[matches[pick]]
        self._copy(row, column, (int(centre[0]), int(centre[1])))
        return float(errors[pick])

    def _copy(self, row: int, column: int, source: tuple[int, int]) -> None:
        self._texture[row, column] = self._sample[source]
        self._filled[row, column] = True
        self.sources[row, column] = source
