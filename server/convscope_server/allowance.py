"""How much of something may pass in a time."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Allowance"]


class Allowance:
    """Lets `burst` units pass at once and `per_second` on the long run.

    Args:
        burst: Most that passes at once.
        per_second: How fast the allowance comes back.
        clock: Seconds, monotonic.
    """

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left = burst
        self._seen = clock()

    def take(self, units: float = 1) -> bool:
        """Whether these may pass; if so they are taken off."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._seen) * self._per_second)
        self._seen = now
        if units > self._left:
            return False
        self._left -= units
        return True
