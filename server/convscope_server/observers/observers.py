"""Tells observers what happens to runs, and waits for none of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from convscope_server.engine.messages import PluginInfo
from convscope_server.engine.output import WorkerOutput
from convscope_server.engine.pipe import frame
from convscope_server.observers.messages import Observed, ObserverOptions, RunFacts
from convscope_server.runs.events import is_skippable
from convscope_server.runs.run import LoggedEvent, RunRecord

__all__ = ["Observers"]

logger = logging.getLogger(__name__)

_MOST_WAITING = 4096
_MOST_BYTES = 64 << 20
_SKIPPABLE_PART = 0.5
_BACKOFF = 5.0
_PATIENCE = 5.0


class Observers:
    """The observers' process, if there is anything to observe with; `tell` costs a run an append to a queue.

    What the process does not take in time is dropped and counted, previews and progress well before the rest.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = tuple(files)
        self._waiting: deque[Observed] = deque()
        self._bytes = 0
        self._dropped = 0
        self._news = asyncio.Event()
        self._closing = False
        self._keeper: asyncio.Task[None] | None = None

    def start(self, plugins: Sequence[PluginInfo]) -> None:
        """Start the process where one of the plugins observes."""
        names = tuple(plugin.name for plugin in plugins if plugin.observes)
        if names:
            files = tuple(file for file in self._files if file in names)
            self._keeper = asyncio.create_task(self._keep(ObserverOptions(names, files)))

    def tell(self, record: RunRecord, entries: Sequence[LoggedEvent]) -> None:
        """Entries that have been stored."""
        if self._keeper is None:
            return
        request = record.request
        facts = RunFacts(
            *(record.id, request.technique, request.model, request.params, request.seed, request.labels),
            create_time=record.create_time,
        )
        for entry in entries:
            self._put(Observed(facts, entry.sequence, entry.time, entry.event))
        self._news.set()

    async def close(self) -> None:
        """Let the process take what waits, for some seconds, and end it."""
        if self._keeper is None:
            return
        self._closing = True
        self._news.set()
        await asyncio.wait({self._keeper}, timeout=_PATIENCE)
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        if self._dropped:
            logger.warning("observers were not told of %d events", self._dropped)

    def _put(self, observed: Observed) -> None:
        part = _SKIPPABLE_PART if is_skippable(observed.event) else 1.0
        if len(self._waiting) >= _MOST_WAITING * part or self._bytes >= _MOST_BYTES * part:
            self._dropped += 1
            if self._dropped.bit_count() == 1:  # the first, the second, the fourth …
                logger.warning("observers are too slow: %d events were dropped", self._dropped)
            return
        self._waiting.append(observed)
        self._bytes += _size(observed)

    async def _keep(self, options: ObserverOptions) -> None:
        while not self._closing:
            try:
                await self._serve_one(options)
            except OSError:
                logger.exception("the observers' process cannot be reached")
            if not self._closing:
                logger.error("the observers' process has ended and is started again")
                await asyncio.sleep(_BACKOFF)

    async def _serve_one(self, options: ObserverOptions) -> None:
        """One process, told everything until it ends or there is nothing more to tell."""
        ours, theirs = socket.socketpair()
        reading, printing = os.pipe()
        output = await WorkerOutput.reading(reading, "observers", lambda: "")
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "convscope_server.observers", "--fd", str(theirs.fileno())),
                *("--options", msgspec.json.encode(options).decode()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=printing,
                stderr=printing,
            )
        finally:
            theirs.close()
            os.close(printing)
        _, writer = await asyncio.open_connection(sock=ours)
        ended = asyncio.create_task(process.wait())
        try:
            with contextlib.suppress(ConnectionError):
                await self._tell_until(ended, writer)
            writer.close()  # what it has, it may finish
            await asyncio.wait({ended}, timeout=_PATIENCE)
        finally:
            writer.close()
            if process.returncode is None:
                process.kill()
            await ended
            output.close()

    async def _tell_until(self, ended: asyncio.Task[Any], writer: asyncio.StreamWriter) -> None:
        while not ended.done():
            while self._waiting:
                observed = self._waiting.popleft()
                self._bytes -= _size(observed)
                writer.write(frame(observed))
                await writer.drain()
            if self._closing:
                return
            self._news.clear()
            news = asyncio.create_task(self._news.wait())
            await asyncio.wait({news, ended}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()


def _size(observed: Observed) -> int:
    artifact = getattr(observed.event, "artifact", None)
    return 512 + len(artifact.content or b"") if artifact is not None else 512
