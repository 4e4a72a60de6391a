"""What is made once for many: all watchers of a run are sent the same events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Shared"]

A = TypeVar("A")
B = TypeVar("B")

_MOST_BYTES = 4 * 2**20
_OVERHEAD = 1024  # of one entry, generously: small ones are bounded in number


class Shared(Generic[A, B]):
    """A function that is called once for each thing, as long as the thing is among the latest.

    A thing is known by its identity; neither it nor what is made of it may be changed.

    Args:
        make: The function.
        size: Bytes that a made thing takes.
        most: Bytes to keep; the newest is kept whatever its size.
    """

    def __init__(self, make: Callable[[A], B], size: Callable[[B], int], most: int = _MOST_BYTES) -> None:
        self._make = make
        self._size = size
        self._most = most
        self._taken = 0
        # With the thing itself: as long as it is here, nothing else can have its id.
        self._made: dict[int, tuple[A, B, int]] = {}

    def __call__(self, thing: A) -> B:
        """What the function makes of the thing, now or before."""
        if found := self._made.get(id(thing)):
            return found[1]
        made = self._make(thing)
        size = self._size(made) + _OVERHEAD
        self._made[id(thing)] = (thing, made, size)
        self._taken += size
        while self._taken > self._most and len(self._made) > 1:
            self._taken -= self._made.pop(next(iter(self._made)))[2]
        return made
