"""The runs that wait for a device, first come first served."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from convscope_server.runs.live import LiveRun

__all__ = ["RunQueue"]


class RunQueue:
    """Runs in the order in which they will be started; all but `first` take constant time."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, LiveRun] = OrderedDict()

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, live: LiveRun) -> bool:
        return live.id in self._runs

    def first(self, may_start: Callable[[LiveRun], bool]) -> LiveRun | None:
        """The first run, in their order, that may start."""
        return next(filter(may_start, self._runs.values()), None)

    def push(self, live: LiveRun) -> None:
        """Add a run behind all others."""
        self._runs[live.id] = live

    def push_front(self, live: LiveRun) -> None:
        """Add a run in front of all others: it had its turn and lost it."""
        self._runs[live.id] = live
        self._runs.move_to_end(live.id, last=False)

    def remove(self, live: LiveRun) -> bool:
        """Take a run out; False where it does not wait."""
        return self._runs.pop(live.id, None) is not None
