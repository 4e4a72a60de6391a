"""What a worker's plugins and libraries print: into the log, bounded, and never in the worker's way."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from convscope_server.allowance import Allowance

__all__ = ["WorkerOutput"]

logger = logging.getLogger(__name__)

_BURST_BYTES = 64 * 1024
_BYTES_PER_SECOND = 8 * 1024
_LONGEST_LINE = 4096
_KEPT = 8 * 1024
_TOLD_AFTER = 1.0


class WorkerOutput(asyncio.Protocol):
    """Reads a worker's standard output and error as fast as they come, so that a print never waits.

    At most 64 KiB at once and 8 KiB a second go to the log, line by line; the rest is counted and thrown away.

    Args:
        device: Whose worker it is, for the log.
        run: Whose turn it is now, or "".
        allowance: Bytes that may be logged.
    """

    def __init__(self, device: str, run: Callable[[], str], allowance: Allowance | None = None) -> None:
        self._device = device
        self._run = run
        self._allowance = allowance or Allowance(_BURST_BYTES, _BYTES_PER_SECOND)
        self._begun = b""
        self._dropped = 0
        self._tail = b""
        self.ended = asyncio.get_running_loop().create_future()

        self._transport: asyncio.BaseTransport | None = None

    @classmethod
    async def reading(cls, descriptor: int, device: str, run: Callable[[], str]) -> WorkerOutput:
        """Read from a pipe, which is closed with it."""
        pipe = os.fdopen(descriptor, "rb", 0)
        _, output = await asyncio.get_running_loop().connect_read_pipe(lambda: cls(device, run), pipe)
        return output

    @property
    def tail(self) -> str:
        """The last of it, whether it was logged or not: what a worker said before it died."""
        return self._tail.decode(errors="replace").strip()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The pipe is open."""
        self._transport = transport

    def close(self) -> None:
        """Read no more."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        self._tail = (self._tail + data[-_KEPT:])[-_KEPT:]
        if not self._allowance.take(len(data)):
            if not self._dropped:
                asyncio.get_running_loop().call_later(_TOLD_AFTER, self._tell_of_dropped)
            self._dropped += len(self._begun) + len(data)
            self._begun = b""
            return
        self._tell_of_dropped()
        *lines, begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._log(line)
        self._begun = begun if len(begun) < _LONGEST_LINE else self._log(begun)

    def connection_lost(self, _error: Exception | None) -> None:
        """The worker, and whoever had inherited its output, is gone."""
        if self._begun:
            self._begun = self._log(self._begun)
        self._tell_of_dropped()
        if not self.ended.done():
            self.ended.set_result(None)

    def _log(self, line: bytes) -> bytes:
        text = line[:_LONGEST_LINE].decode(errors="replace").rstrip()
        if text:
            run = self._run()
            logger.info("worker of %s%s: %s", self._device, f", run {run}" if run else "", text)
        return b""

    def _tell_of_dropped(self) -> None:
        if self._dropped:
            logger.warning("worker of %s printed %d bytes too many, which were dropped", self._device, self._dropped)
            self._dropped = 0
