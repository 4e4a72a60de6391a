"""How a watcher reads a log: at its own pace, everything once, in order.

The rule for slow watchers. A hand-over (the time from yielding an item until the watcher asks for the next)
that takes `slow` seconds or longer, and during which two or more previews or progress events were stored, makes
the watcher *behind*. All that is stored at that moment and not yet handed over is its backlog. Of the backlog's
previews and progress events it gets only the newest preview and the newest progress; everything else is sent.
What is stored later is sent again in full, until the watcher is behind once more. A watcher that is merely late
(it replays an old log) is never behind, because nothing piles up while it takes what it is given.

Each contiguous range left out is told by one `Gap` in front of the next entry sent, so the sequences that a
watcher gets, together with its gaps, run from `after_sequence + 1` to the terminal event without a hole or a
repetition. Results, notes, state changes and the terminal event are never left out.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Protocol

from convscope_server.errors import RequestError
from convscope_server.runs.events import is_terminal
from convscope_server.runs.log import RunLog
from convscope_server.runs.run import Gap, LoggedEvent
from convscope_server.runs.skips import Skips

__all__ = ["SLOW_HANDOVER", "EventSource", "Watcher"]

SLOW_HANDOVER = 0.1
_PAGE = 32
_PILED_UP = 2


class EventSource(Protocol):
    """Where entries older than a log's tail are read."""

    async def events(self, run: str, *, after: int, through: int, skips: Skips, limit: int) -> list[LoggedEvent]:
        """At most `limit` entries with after < sequence <= through that `skips` does not leave out, in order."""


class Watcher:
    """One watcher's way through a log.

    Args:
        log: What to read.
        source: Where its older entries are.
        after: The last sequence already seen.
        skip_previews: Leave all previews out; gaps stand for them.
        every_preview: Leave nothing out for being slow.
        slow: Seconds from which on a hand-over is slow.
        clock: Seconds, for the tests.
    """

    def __init__(
        self,
        log: RunLog,
        source: EventSource,
        *,
        after: int = 0,
        skip_previews: bool = False,
        every_preview: bool = False,
        slow: float = SLOW_HANDOVER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._source = source
        self._told = after  # handed over, or named in a gap
        self._read = after
        self._skips = Skips(previews=skip_previews)
        self._every_preview = every_preview
        self._slow = slow
        self._clock = clock

    async def items(self) -> AsyncGenerator[LoggedEvent | Gap, None]:
        """The log from `after` to its terminal event.

        Raises:
            RequestError: UNAVAILABLE, SERVER_CLOSED; NOT_FOUND, RUN_NOT_FOUND where it was deleted meanwhile.
        """
        while page := await self._next_page():
            for logged in page:
                if self._skips.leave_out(logged):
                    continue
                for item in self._with_gap(logged):
                    piled_up, begun = self._log.skippable, self._clock()
                    yield item
                    self._note_handover(self._log.skippable - piled_up, self._clock() - begun)
                self._told = logged.sequence
                if is_terminal(logged.event):
                    return
        if self._told < self._log.last:
            raise _removed(self._log.run)

    async def _next_page(self) -> list[LoggedEvent]:
        """Some entries, or none at the end of an ended log."""
        while True:
            through = self._log.last
            if self._read < through:
                page = await self._page(through)
                if page:
                    return page
            elif self._log.ended:
                return []
            else:
                await self._log.changed()

    async def _page(self, through: int) -> list[LoggedEvent]:
        page = self._log.after(self._read, _PAGE)
        if page is not None:
            self._read = page[-1].sequence
            return page
        page = await self._source.events(
            self._log.run, after=self._read, through=through, skips=self._skips, limit=_PAGE
        )
        self._read = page[-1].sequence if len(page) == _PAGE else through
        return page

    def _with_gap(self, logged: LoggedEvent) -> list[LoggedEvent | Gap]:
        if logged.sequence == self._told + 1:
            return [logged]
        return [Gap(logged.run, self._told + 1, logged.sequence - 1), logged]

    def _note_handover(self, piled_up: int, seconds: float) -> None:
        if not self._every_preview and seconds >= self._slow and piled_up >= _PILED_UP:
            self._skips = replace(self._skips, through=self._log.last, keep=self._log.newest)


def _removed(run: str) -> RequestError:
    message = f"run {run} was removed while it was watched: its owner deleted it, or this server keeps runs no longer"
    return RequestError.of("NOT_FOUND", "RUN_NOT_FOUND", message, metadata={"run": run})
