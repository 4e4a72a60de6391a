"""The log of a run as watchers share it: how far it goes, whether it has ended, and its newest entries."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice

from convscope_server.errors import RequestError
from convscope_server.runs.events import Preview, Progress, Result, is_terminal
from convscope_server.runs.run import LoggedEvent

__all__ = ["RunLog"]

_TAIL_ENTRIES = 512
_TAIL_BYTES = 8 * 1024 * 1024


class RunLog:
    """Everything here is stored already. Older entries than the tail are in the store alone.

    Args:
        run: Whose log.
        last: Sequence of the newest stored entry.
        ended: Whether that one is terminal.
        newest: Sequences of the newest preview and the newest progress, 0 where there is none.
    """

    def __init__(self, run: str, *, last: int = 0, ended: bool = False, newest: tuple[int, int] = (0, 0)) -> None:
        self.run = run
        self.last = last
        self.ended = ended
        self.skippable = 0
        self._newest_preview, self._newest_progress = newest
        self._tail: deque[LoggedEvent] = deque()
        self._tail_bytes = 0
        self._changed = asyncio.Event()
        self.closed = False

    @property
    def newest(self) -> tuple[int, int]:
        """Sequences of the newest preview and the newest progress, 0 where there is none."""
        return self._newest_preview, self._newest_progress

    def publish(self, entries: Sequence[LoggedEvent]) -> None:
        """Make stored entries known to watchers; sequences go on from `last`."""
        for logged in entries:
            assert logged.sequence == self.last + 1, "the log is dense"
            self.last = logged.sequence
            self._note_kind(logged)
            self._tail.append(logged)
            self._tail_bytes += _size(logged)
        while len(self._tail) > _TAIL_ENTRIES or self._tail_bytes > _TAIL_BYTES:
            self._tail_bytes -= _size(self._tail.popleft())
        self._wake()

    def after(self, sequence: int, limit: int) -> list[LoggedEvent] | None:
        """The entries that follow `sequence`, at most `limit`; None where the tail does not reach back so far."""
        first = self.last - len(self._tail) + 1
        if sequence + 1 < first or not self._tail:
            return None
        start = sequence + 1 - first
        return list(islice(self._tail, start, start + limit))

    async def changed(self) -> None:
        """Return once there is more to read.

        Raises:
            RequestError: UNAVAILABLE, SERVER_CLOSED: this server writes it no further.
        """
        if not self.closed:
            await self._changed.wait()
        if self.closed:
            raise RequestError.of(
                "UNAVAILABLE",
                "SERVER_CLOSED",
                "the server shut down; the run's log is kept: watch again after the last sequence seen",
            )

    async def until_end(self) -> None:
        """Return once the terminal event is stored.

        Raises:
            RequestError: UNAVAILABLE, SERVER_CLOSED.
        """
        while not self.ended:
            await self.changed()

    def close(self) -> None:
        """Send watchers away: nothing more will come from this server."""
        self.closed = not self.ended
        self._wake()

    def _note_kind(self, logged: LoggedEvent) -> None:
        if isinstance(logged.event, Preview):
            self._newest_preview = logged.sequence
            self.skippable += 1
        elif isinstance(logged.event, Progress):
            self._newest_progress = logged.sequence
            self.skippable += 1
        self.ended = is_terminal(logged.event)

    def _wake(self) -> None:
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()


def _size(logged: LoggedEvent) -> int:
    event = logged.event
    return len(event.artifact.content or b"") if isinstance(event, Preview | Result) else 0
