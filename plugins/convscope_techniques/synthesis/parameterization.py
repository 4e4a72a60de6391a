"""What is really optimised, and the picture that it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["PIXELS", "Parameterization", "Pixels"]


class Parameterization(Protocol):
    """A code and its picture."""

    @property
    def low(self) -> float:
        """The least that a number of a code may be; minus infinity where it runs free."""

    @property
    def high(self) -> float:
        """The most that it may be."""

    def pixels(self, code: Tensor) -> Tensor:
        """(B, 3, H, W) the picture of a code, differentiable."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """The picture itself, each value kept in [low, high]."""

    low: float = 0.0
    high: float = 1.0

    def pixels(self, code: Tensor) -> Tensor:
        """The code."""
        return code


PIXELS = Pixels()
"""The picture itself, in [0, 1]."""
