"""Mean and spread of each channel over many pictures, without keeping any."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["Moments"]

_LEAST_VARIANCE = 1e-12


class Moments:
    """Sums over the pictures and positions of values (B, C, …), in double precision.

    Attributes:
        least: The smallest value.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None
        self.least = math.inf

    def add(self, values: Tensor) -> None:
        """Take in a batch."""
        flat = values.detach().transpose(0, 1).flatten(1).double()
        total, squares = flat.sum(1), flat.square().sum(1)
        self._sum = total if self._sum is None else self._sum + total
        self._squares = squares if self._squares is None else self._squares + squares
        self._count += flat.shape[1]
        self.least = min(self.least, float(flat.min()))

    @property
    def variances(self) -> Tensor:
        """(C,) in float32.

        Raises:
            ValueError: nothing was added.
        """
        if self._sum is None or self._squares is None:
            raise ValueError("nothing was added")
        mean: Tensor = self._sum / self._count
        return (self._squares / self._count - mean.square()).clamp(min=0).float()

    @property
    def sigma(self) -> Tensor:
        """(C,) the standard deviations."""
        return self.variances.sqrt()

    @property
    def variance(self) -> float:
        """The channels' mean variance, never zero."""
        return max(float(self.variances.mean()), _LEAST_VARIANCE)
