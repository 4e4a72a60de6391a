"""Blobs that somebody has just sent or asked for, and that nothing refers to yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

__all__ = ["Leases"]


class Leases:
    """Keeps a blob from being dropped between its arrival and the run or image set that will refer to it.

    Args:
        seconds: How long a lease holds that nobody releases.
        clock: Unix seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[str, float] = {}

    def take(self, digests: Iterable[str]) -> set[str]:
        """Hold blobs from now on; gives those that were not held."""
        until = self._clock() + self._seconds
        wanted = set(digests)
        new = wanted - self._until.keys()
        self._until.update(dict.fromkeys(wanted, until))
        return new

    def release(self, digests: Collection[str]) -> None:
        """Something refers to them now, or they never came."""
        for digest in digests:
            self._until.pop(digest, None)

    def held(self, digests: Iterable[str]) -> set[str]:
        """Those of the blobs that have a lease."""
        now = self._clock()
        return {digest for digest in digests if self._until.get(digest, now) > now}

    def expire(self) -> None:
        """Forget leases that have run out."""
        now = self._clock()
        self._until = {digest: until for digest, until in self._until.items() if until > now}
