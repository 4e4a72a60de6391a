"""Tidying a stopped server's store at once, or only saying what would go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from convscope_sdk.image_sets.parts import Part
from convscope_server.images.blobs import BlobInfo
from convscope_server.images.content import ContentStore
from convscope_server.room import StorageFullError, says_full
from convscope_server.runs.schema import require_this_version
from convscope_server.storage import records
from convscope_server.storage.indexes import Indexes
from convscope_server.storage.limits import KeepLimits
from convscope_server.storage.live_sets import LiveSets
from convscope_server.storage.place import Place
from convscope_server.storage.reserve import Reserve
from convscope_server.storage.retention import Retention, Tidied

__all__ = ["collect", "rehearse"]

T = TypeVar("T")


def collect(place: Place, limits: KeepLimits) -> Tidied:
    """Remove what lies beyond the bounds from a stopped server's store, and give the room back to the disk.

    Raises:
        DataDirectoryLockedError: a server uses it, which does this by itself.
        NoStoreError, StoreVersionError: as of `Place.alone`.
        StorageFullError: there is not even room to remove something.
    """
    try:
        tidied = _tidied(place, limits)
    except StorageFullError:
        if not Reserve(place.data).give_up():
            raise
        tidied = _tidied(place, limits)
    _shrink(place)
    return tidied


def rehearse(place: Place, limits: KeepLimits) -> Tidied:
    """What `collect` would remove; nothing is.

    The same code runs in a transaction that is rolled back, over a content store that only notes what should go.

    Raises:
        DataDirectoryLockedError, NoStoreError, StoreVersionError: as of `collect`.
    """
    place.check()
    with place.connected() as database:
        require_this_version(database)
    with place.alone(limits) as archive, place.connected() as database, database.connect() as connection:
        rehearsal = _Rehearsal(connection)
        content = _Rehearsed(place.content, lease_seconds=limits.upload_seconds)
        content.holders += [rehearsal.referred, archive.image_sets.referred, LiveSets(archive.runs, content).needed]
        indexes = _RehearsedIndexes(archive.index_dir, archive.runs, archive.image_sets)
        tidied = asyncio.run(Retention(rehearsal, content, archive.image_sets.referred, indexes, limits).tidy())
        connection.rollback()
    return tidied


def _tidied(place: Place, limits: KeepLimits) -> Tidied:
    with place.alone(limits) as archive:
        return asyncio.run(archive.retention().tidy())


class _Rehearsal:
    """A database whose changes nobody else ever sees."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self, work: Callable[[Connection], T], /) -> T:
        return work(self._connection)

    async def write(self, work: Callable[[Connection], T], /) -> T:
        return work(self._connection)

    async def referred(self, digests: Collection[str]) -> set[str]:
        return await self.read(partial(records.referred, digests=digests))


class _Rehearsed(ContentStore):
    """A content store from which nothing goes."""

    def __init__(self, url: str, *, lease_seconds: float) -> None:
        super().__init__(url, lease_seconds=lease_seconds)
        self._gone: set[str] = set()

    async def listed(self, folder: str) -> list[BlobInfo]:
        return [blob for blob in await super().listed(folder) if blob.digest not in self._gone]

    async def sweep(self, *, older_than: float = 86400.0) -> int:
        return len(await asyncio.to_thread(self._blobs.broken_off, self._clock() - older_than))

    def _remove(self, digests: Collection[str]) -> int:
        self._gone.update(digests)
        return sum(map(self._size, digests))


class _RehearsedIndexes(Indexes):
    """Indexes of which nothing goes."""

    async def remove(self, unneeded: list[Part]) -> int:
        return sum(part.size_bytes for part in unneeded)


def _shrink(place: Place) -> None:
    """Let SQLite give back empty pages; it copies the database for that, so where there is no room it does not."""
    with place.connected() as database:
        if database.dialect.name != "sqlite":
            return
        with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                connection.exec_driver_sql("VACUUM")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            except DBAPIError as error:
                if not says_full(error):
                    raise
