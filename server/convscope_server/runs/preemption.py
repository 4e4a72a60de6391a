"""Who leaves a full device for whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convscope_server.engine.engine import Engine
from convscope_server.priority import RANK
from convscope_server.runs.live import LiveRun

__all__ = ["Preemption"]


class Preemption:
    """Puts down a run for a more urgent one that finds no room: a batch run, or one that is the same principal's alone.

    Args:
        engine: Where runs are.
        on_engine: Gives those that are there.
        suspend: Puts one down.
        owners: Says whose one is, of all who share it.
    """

    def __init__(
        self,
        engine: Engine,
        on_engine: Callable[[], Sequence[LiveRun]],
        suspend: Callable[[LiveRun], bool],
        owners: Callable[[LiveRun], set[str]],
    ) -> None:
        self._engine = engine
        self._on_engine = on_engine
        self._suspend = suspend
        self._owners = owners

    def make_room_for(self, live: LiveRun) -> None:
        """Have the least urgent of the runs put down that must give way, unless one is on its way already."""
        lane = self._engine.lane(live.request.technique)
        giving = [other for other in self._on_engine() if self._gives_way(other, live, lane)]
        if giving and not any(other.giving_way for other in giving):
            other = max(giving, key=lambda one: (RANK[one.request.priority], -one.device_seconds))
            other.giving_way = self._suspend(other)

    def _gives_way(self, other: LiveRun, live: LiveRun, lane: str) -> bool:
        mine, theirs = live.request, other.request
        return (
            RANK[theirs.priority] > RANK[mine.priority]
            and (theirs.priority == "batch" or self._owners(other) == {mine.owner})
            and self._engine.catalog.is_resumable(theirs.technique)
            and self._engine.lane(theirs.technique) == lane
            and other.cancelling is None
        )
