"""Tells waiting runs their place in the queue as it changes."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from convscope_server.runs.events import Queued
from convscope_server.runs.queue import RunQueue

__all__ = ["Pace", "Positions"]

_EVERY = 2.0
_EXACT = 20  # places that are told one by one; further back, each tenth of the way


class Pace:
    """How fast runs start."""

    def __init__(self) -> None:
        self._starts: deque[float] = deque(maxlen=32)

    def started(self) -> None:
        """A run has started now."""
        self._starts.append(time.monotonic())

    @property
    def seconds(self) -> float | None:
        """Mean time between two starts, or None where none is known yet."""
        if len(self._starts) < 2:  # noqa: PLR2004 - a pair
            return None
        return (time.monotonic() - self._starts[0]) / (len(self._starts) - 1)


class Positions:
    """Watches a queue.

    Args:
        queue: Whose runs are told.
        pace: From which the time to the start is estimated.
    """

    def __init__(self, queue: RunQueue, pace: Pace) -> None:
        self._queue = queue
        self._pace = pace
        self._told: dict[str, int] = {}
        self._short: set[str] = set()

    def told(self, run: str, place: int) -> None:
        """A new run has been told its place."""
        self._told[run] = place

    async def follow(self) -> None:
        """Keep telling, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            self.tell()

    def tell(self) -> None:
        """Tell each run whose place has changed for the better since it was told, by an entry of its log.

        One that now waits for memory is told so, once.
        """
        told: dict[str, int] = {}
        short: set[str] = set()
        for place, live in enumerate(self._queue.in_order()):
            before = self._told.get(live.id)
            if live.short_since is not None:
                short.add(live.id)
                if live.id not in self._short:
                    live.put([Queued(place, None, for_memory=True)])
                    before = place
            elif before is not None and (before - place) * _EXACT >= max(_EXACT, before):
                live.put([Queued(place, self.eta(place))])
                before = place
            told[live.id] = place if before is None else before
        self._told, self._short = told, short

    def eta(self, place: int) -> float | None:
        """Seconds until a run at that place starts, at the present pace."""
        pace = self._pace.seconds
        return None if pace is None else round(pace * (place + 1), 1)
