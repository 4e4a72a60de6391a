"""The way of a run's events into the store and from there into its log, in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace
from sqlalchemy.exc import SQLAlchemyError

from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore
from convscope_server.room import StorageFullError
from convscope_server.runs.events import (
    Cancelled,
    Event,
    Failed,
    Preview,
    Result,
    is_skippable,
    is_terminal,
)
from convscope_server.runs.log import RunLog
from convscope_server.runs.postgres import StoreAwayError
from convscope_server.runs.run import LoggedEvent
from convscope_server.runs.store import RunStore

__all__ = ["Appender"]

_log = logging.getLogger(__name__)

_MOST_WAITING = 1024
_MOST_IN_ONE = 256
_LONGEST_PAUSE = 5.0


class Appender:
    """Stores what is put in, then publishes it to the log. Nothing follows the first terminal event.

    While the store cannot be written (database away) it tries again until it can. If more than 1,024 events wait
    meanwhile, the older previews and progress events among them are dropped before they get a sequence.
    Where the disk is full the run has failed, which is stored as soon as there is room.

    Args:
        log: Where to publish.
        store: Where to keep events.
        content: Where to keep artifacts of more than `inline_bytes`.
        inline_bytes: Largest artifact that is kept inside its event.
        on_stored: Called with entries once they are stored and published.
        cost: Device seconds that the run has taken so far, which are stored with it.
        on_failing: Called once where the run fails because something of it cannot be stored, before that is stored.
        on_end: Called once: the terminal event is stored, or the store has no place for this log any more.
    """

    def __init__(
        self,
        log: RunLog,
        store: RunStore,
        content: ContentStore,
        *,
        inline_bytes: int,
        on_failing: Callable[[], None],
        on_end: Callable[[], None],
        on_stored: Callable[[Sequence[LoggedEvent]], None] = lambda _: None,
        cost: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.ending = False
        self._log = log
        self._store = store
        self._content = content
        self._inline_bytes = inline_bytes
        self._on_failing = on_failing
        self._on_end = on_end
        self._on_stored = on_stored
        self._cost = cost
        self._waiting: list[Event] = []
        self._task: asyncio.Task[None] | None = None

    def put(self, events: Sequence[Event]) -> None:
        """Events to store after all that were put before."""
        for event in events:
            if self.ending:
                _log.warning("run %s: %s after its terminal event, dropped", self._log.run, type(event).__name__)
                continue
            self._waiting.append(event)
            self.ending = is_terminal(event)
        if len(self._waiting) > _MOST_WAITING:
            self._waiting = _thinned(self._waiting)
        if self._waiting and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def settled(self) -> None:
        """Returns when all that was put is stored."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def close(self, *, patience: float) -> None:
        """Store what waits, but give up what is not stored after `patience` seconds."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=patience)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_IN_ONE], self._waiting[_MOST_IN_ONE:]
                await self._append_for_sure(batch)
        finally:
            self._task = None

    async def _append_for_sure(self, batch: list[Event]) -> None:
        pause, entries = 0.1, None
        while True:
            try:
                # Made once: a commit whose answer was lost is known again by just these.
                entries = entries or await self._entries(batch)
                return await self._append(entries)
            except StorageFullError as full:
                _log.error("run %s: there is no room for its events, trying again in %.1f s", self._log.run, pause)
                self._content.room.found_none()
                batch, entries = self._failed_by(full, batch), None
            except (SQLAlchemyError, OSError, StoreAwayError):  # the database's or the disk's, which may recover
                _log.exception("run %s: cannot store its events, trying again in %.1f s", self._log.run, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _entries(self, batch: list[Event]) -> list[LoggedEvent]:
        kept = await self._with_content_kept(batch)
        now, first = time.time(), self._log.last + 1
        return [LoggedEvent(self._log.run, first + i, now, event) for i, event in enumerate(kept)]

    async def _append(self, entries: list[LoggedEvent]) -> None:
        if await self._store.append(self._log.run, entries, device_seconds=self._cost()):
            made = [entry.event.artifact for entry in entries if isinstance(entry.event, Preview | Result)]
            self._content.used([artifact.digest for artifact in made])
            self._log.publish(entries)
            self._on_stored(entries)
        else:
            _log.error("run %s: its log in the store has ended, is gone or was written by another", self._log.run)
            self._give_up()
            self._log.close()
        if self._log.ended or self._log.closed:
            self._on_end()

    async def _with_content_kept(self, batch: list[Event]) -> list[Event]:
        """The batch with large contents moved to the content store; ends where one cannot be kept at all."""
        kept: list[Event] = []
        for event in batch:
            try:
                kept.append(await self._with_large_content_moved(event))
            except RequestError as refusal:
                self._give_up()
                self._on_failing()
                return [*kept, Failed(refusal.error)]
        return kept

    def _failed_by(self, full: StorageFullError, batch: list[Event]) -> list[Event]:
        """What to store in the place of a batch that there was no room for: its end alone, or that it failed."""
        if len(batch) == 1 and is_terminal(batch[0]):
            return batch
        end = batch[-1] if isinstance(batch[-1], Failed | Cancelled) else Failed(full.error)
        self._give_up()
        self._on_failing()
        return [end]

    async def _with_large_content_moved(self, event: Event) -> Event:
        if not isinstance(event, Preview | Result):
            return event
        artifact = event.artifact
        if artifact.content is None or len(artifact.content) <= self._inline_bytes:
            return event
        digest = await self._content.put(artifact.content)
        return replace(event, artifact=replace(artifact, content=None, digest=digest))

    def _give_up(self) -> None:
        self.ending = True
        self._waiting = []


def _thinned(events: list[Event]) -> list[Event]:
    """The events without previews and progress, but for the newest of each."""
    newest: dict[type[Event], Event] = {type(event): event for event in events}
    return [event for event in events if not is_skippable(event) or event is newest[type(event)]]
