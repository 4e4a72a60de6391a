"""An engine's listener that remembers, and can be waited for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from convscope_server.engine.engine import Blame
from convscope_server.runs.events import Error, Event, is_terminal


class Listening:
    def __init__(self) -> None:
        self.logs: dict[str, list[Event]] = defaultdict(list)
        self.lost: dict[str, tuple[bool, Error]] = {}
        self.blame: dict[str, Blame] = {}
        self.attained: dict[str, float] = {}
        self.short: list[str] = []
        self.suspended: list[str] = []
        self.rooms = 0
        self._changed = asyncio.Event()

    def run_events(self, run: str, events: Sequence[Event]) -> None:
        self.logs[run] += events
        self._changed.set()

    def run_attained(self, run: str, seconds: float) -> None:
        self.attained[run] = seconds
        self._changed.set()

    def run_out_of_memory(self, run: str) -> None:
        self.short.append(run)
        self._changed.set()

    def run_suspended(self, run: str, *, left: bool) -> None:
        assert left
        self.suspended.append(run)
        self._changed.set()

    def run_lost(self, run: str, *, started: bool, error: Error, blame: Blame) -> None:
        assert run not in self.lost
        self.lost[run] = (started, error)
        self.blame[run] = blame
        self._changed.set()

    def room_changed(self) -> None:
        self.rooms += 1
        self._changed.set()

    def ended(self, run: str) -> bool:
        return run in self.lost or any(is_terminal(event) for event in self.logs[run])

    async def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()
