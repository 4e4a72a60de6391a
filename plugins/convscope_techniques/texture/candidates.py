"""All windows of a sample, and which of them look most like what has been made so far."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["Candidates"]

_ROUNDING = 1e-5  # of float32 sums, where errors are means of values up to 1

Floats = NDArray[np.float32]


class Candidates:
    """Every whole window of a sample, ready to be compared.

    Args:
        sample: (h, w, 3) floats in [0, 1].
        window: Edge of the square windows, odd; at most the sample's shorter edge.

    Attributes:
        centres: (N, 2) row and column of each window's centre in the sample.
        weights: (window, window) Gaussian of the distance to the centre, sigma = window / 6.4, sum 1.
    """

    def __init__(self, sample: Floats, window: int) -> None:
        views = sliding_window_view(sample, (window, window), axis=(0, 1))  # (rows, columns, 3, window, window)
        rows, columns = views.shape[:2]
        self.weights = gaussian(window)
        self.centres = np.indices((rows, columns)).reshape(2, -1).T + window // 2
        self._windows = np.ascontiguousarray(views.reshape(rows * columns, 3, window * window))
        # [sum of squares | values]: one product with a vector then gives every distance.
        squares = np.square(self._windows).sum(1)
        self._terms = np.concatenate([squares, self._windows.reshape(len(squares), -1)], axis=1)

    def __len__(self) -> int:
        return len(self.centres)

    @staticmethod
    def bytes_needed(height: int, width: int, window: int) -> int:
        """Memory that the windows of such a sample take."""
        count = max(height - window + 1, 0) * max(width - window + 1, 0)
        return count * window * window * (3 + 4) * np.dtype(np.float32).itemsize

    def errors(self, template: Floats, known: NDArray[np.bool_]) -> Floats:
        """(N,) weighted mean squared distance of each window to the known pixels of a template, up to rounding.

        Args:
            template: (window, window, 3); what is unknown does not matter.
            known: (window, window), not all False.
        """
        weights = np.where(known, self.weights, 0).reshape(-1)
        weights /= weights.sum()
        weighted = template.reshape(-1, 3).T * weights
        vector = np.concatenate([weights, -2 * weighted.reshape(-1)])
        constant = (weighted * template.reshape(-1, 3).T).sum()
        return np.asarray((self._terms @ vector + constant) / 3)

    def best(self, template: Floats, known: NDArray[np.bool_], tolerance: float) -> tuple[NDArray[np.intp], Floats]:
        """The windows within (1 + tolerance) times the least error, and their errors; exact, without cancellation."""
        rough = self.errors(template, known)
        near = np.flatnonzero(rough <= max(float(rough.min()), 0) * (1 + tolerance) + 2 * _ROUNDING)
        weights = np.where(known, self.weights, 0).reshape(-1)
        distances = np.square(self._windows[near] - template.reshape(-1, 3).T).mean(1)
        exact = distances @ (weights / weights.sum())
        chosen = exact <= exact.min() * (1 + tolerance)
        return near[chosen], exact[chosen]


def gaussian(window: int) -> Floats:
    """(window, window) Gaussian with sigma = window / 6.4 that sums to 1."""
    offsets = np.arange(window) - window // 2
    bell = np.exp(-0.5 * np.square(offsets / (window / 6.4)))
    weights = np.outer(bell, bell)
    return np.asarray(weights / weights.sum(), dtype=np.float32)
