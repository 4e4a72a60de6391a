"""The task of a server that keeps its store within bounds."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from convscope_server.errors import RequestError
from convscope_server.room import StorageFullError
from convscope_server.storage.reserve import Reserve
from convscope_server.storage.retention import Retention

__all__ = ["Tidying"]

_log = logging.getLogger(__name__)


class Tidying:
    """Tidies at the start, and whenever so many seconds have passed.

    Args:
        retention: Knows what lies beyond the bounds.
        seconds: The time between.
        reserve: Room to tidy in when the disk is full.
    """

    def __init__(self, retention: Retention, seconds: float, reserve: Reserve) -> None:
        self._retention = retention
        self._seconds = seconds
        self._reserve = reserve
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._go_on())

    async def close(self) -> None:
        """Stop; what it is removing at the moment may be left to the next time."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _go_on(self) -> None:
        while True:
            try:
                await self._tidy()
            except (SQLAlchemyError, OSError, RequestError):  # the database's or the disk's, which may recover
                _log.exception("could not tidy the store, trying again in %g s", self._seconds)
            await asyncio.sleep(self._seconds)

    async def _tidy(self) -> None:
        try:
            tidied = await self._retention.tidy()
        except StorageFullError:
            if not await asyncio.to_thread(self._reserve.give_up):
                raise
            tidied = await self._retention.tidy()
        if tidied:
            taken = tidied.log_bytes + tidied.blob_bytes + tidied.index_bytes
            _log.info("removed %d runs, %d bytes, of them %d of indexes", len(tidied.runs), taken, tidied.index_bytes)
        await asyncio.to_thread(self._reserve.keep)
