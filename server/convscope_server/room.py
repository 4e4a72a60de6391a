"""A disk without room: how it is recognised, and what a caller is told."""

from __future__ import annotations

import asyncio
import errno
import math
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from convscope_server.errors import RequestError
from convscope_server.runs.events import Error

__all__ = ["Room", "StorageFullError", "needs_room", "says_full"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
# SQLite cannot make its shared memory larger: the same disk.
_SQLITE_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
_POSTGRES_FULL = "53100"
_PAUSE = 5.0
_FRESH = 1.0  # a look at the disk counts for so long


class StorageFullError(RequestError):
    """RESOURCE_EXHAUSTED, STORAGE_FULL: nothing can be stored until there is room again. What is stored is whole."""

    def __init__(self) -> None:
        message = (
            "the server's disk is full, or its quota used up: it stores nothing new until there is room. Try again "
            "later; whoever runs it frees some, for instance with a shorter keep_seconds or `convscope admin gc`"
        )
        super().__init__(Error("RESOURCE_EXHAUSTED", message, "STORAGE_FULL", {"retry_after_seconds": "30"}))


def says_full(error: BaseException) -> bool:
    """Whether the operating system or a database refused a write for want of room."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code in _SQLITE_FULL or getattr(error.orig, "sqlstate", None) == _POSTGRES_FULL


@contextmanager
def needs_room() -> Iterator[None]:
    """Within it something is written.

    Raises:
        StorageFullError: there was no room for it.
    """
    try:
        yield
    except (OSError, DBAPIError) as error:
        if says_full(error):
            raise StorageFullError from error
        raise


class Room:
    """Whether there is room for something new.

    Args:
        folder: What lies on the disk; None where it is not known to be a disk.
        least: Bytes that must be free on it, so that what has begun can end.
        clock: Seconds, monotonic.
    """

    def __init__(self, folder: Path | None = None, least: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._least = least
        self._clock = clock
        self._closed_until = clock()
        self._looked_at = -math.inf
        self._was_short = False

    async def is_full(self) -> bool:
        """Whether a write has just found no room, or less is free than must be."""
        now = self._clock()
        if now < self._closed_until:
            return True
        if now - self._looked_at >= _FRESH:
            self._was_short = await asyncio.to_thread(self._short)
            self._looked_at = now
        return self._was_short

    async def check(self) -> None:
        """Lets through what can be stored.

        Raises:
            StorageFullError: there is no room.
        """
        if await self.is_full():
            raise StorageFullError

    def found_none(self) -> None:
        """A write found no room: nothing new for a few seconds."""
        self._closed_until = self._clock() + _PAUSE

    def _short(self) -> bool:
        with suppress(OSError):  # what cannot be asked is found out by writing
            return self._folder is not None and shutil.disk_usage(self._folder).free < self._least
        return False
