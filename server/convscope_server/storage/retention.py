"""Old runs and forgotten uploads are removed, a few at a time, while the server serves."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from convscope_server.images.content import ContentStore
from convscope_server.storage import records
from convscope_server.storage.indexes import Indexes
from convscope_server.storage.limits import KeepLimits

__all__ = ["Database", "Parting", "Retention", "Tidied"]

T = TypeVar("T")

_AT_ONCE = 20  # runs that are looked up together; each is removed for itself
_IN_ONE = 500  # digests in one statement

Parting = Callable[[str], AbstractAsyncContextManager[object]]
InSets = Callable[[Collection[str]], Awaitable[set[str]]]


class Database(Protocol):
    """Where runs are."""

    async def read(self, work: Callable[[Connection], T], /) -> T:
        """What `work` finds."""

    async def write(self, work: Callable[[Connection], T], /) -> T:
        """What `work` returns, once it is committed."""


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was removed.

    Attributes:
        runs: Ids of runs.
        log_bytes: Length of their events.
        blob_bytes: Length of the blobs that went with them, and of forgotten uploads.
        broken_off: Uploads that had been broken off.
        index_bytes: What indexes of image sets took that nobody needs.
    """

    runs: tuple[str, ...] = ()
    log_bytes: int = 0
    blob_bytes: int = 0
    broken_off: int = 0
    index_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.runs or self.blob_bytes or self.broken_off or self.index_bytes)


class Retention:
    """Removes ended runs beyond the bounds, the earliest end first, with the blobs that only they refer to.

    What a live run, an image set or an upload in progress needs stays. A run goes from the database first, in one
    transaction with its log: whatever breaks off then leaves blobs that nothing refers to, which the next time finds.

    Args:
        database: Where runs are.
        content: Where blobs are; its holders know what is needed.
        in_sets: Gives those of some blobs that image sets are made of.
        indexes: What workers keep of image sets.
        limits: Bounds.
        parting: Within it a run may go.
        clock: Unix seconds.
    """

    def __init__(
        self,
        database: Database,
        content: ContentStore,
        in_sets: InSets,
        indexes: Indexes,
        limits: KeepLimits,
        *,
        parting: Parting = nullcontext,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._content = content
        self._in_sets = in_sets
        self._indexes = indexes
        self._limits = limits
        self._parting = parting
        self._clock = clock

    async def tidy(self) -> Tidied:
        """Remove what lies beyond the bounds now."""
        tidied = Tidied(broken_off=await self._content.sweep(older_than=self._limits.upload_seconds))
        if self._limits.seconds:
            tidied = await self._beyond_age(tidied)
        taken, tidied = await self._sweep(tidied)
        if self._limits.bytes:
            tidied = await self._beyond_bytes(tidied, taken + await self._database.read(records.log_bytes))
        unneeded = await self._indexes.unneeded(self._limits.seconds)
        return replace(tidied, index_bytes=await self._indexes.remove(unneeded))

    async def _beyond_age(self, tidied: Tidied) -> Tidied:
        before = self._clock() - self._limits.seconds
        while runs := await self._database.read(partial(records.oldest, limit=_AT_ONCE, before=before)):
            for run in runs:
                tidied, _ = await self._remove(run, tidied)
        return tidied

    async def _beyond_bytes(self, tidied: Tidied, taken: int) -> Tidied:
        while taken > self._limits.bytes:
            runs = await self._database.read(partial(records.oldest, limit=_AT_ONCE))
            if not runs:
                break
            for run in runs:
                if taken > self._limits.bytes:
                    tidied, freed = await self._remove(run, tidied)
                    taken -= freed
        return tidied

    async def _remove(self, run: str, tidied: Tidied) -> tuple[Tidied, int]:
        """Also gives the bytes that runs take less."""
        async with self._parting(run):
            gone = await self._database.write(partial(records.forget, run=run))
        if gone is None:  # deleted meanwhile
            return tidied, 0
        alone = set(gone.digests)
        for some in _parts(gone.digests):
            alone -= await self._needed_by_runs(some) | await self._in_sets(some)
        size = await self._content.total_size(alone)
        dropped = await self._content.drop(gone.digests)
        tidied = replace(
            tidied,
            runs=(*tidied.runs, run),
            log_bytes=tidied.log_bytes + gone.log_bytes,
            blob_bytes=tidied.blob_bytes + dropped,
        )
        return tidied, gone.log_bytes + size

    async def _sweep(self, tidied: Tidied) -> tuple[int, Tidied]:
        """Remove forgotten uploads; gives the bytes of the blobs that runs take, and what was removed in all."""
        taken, before = 0, self._clock() - self._limits.upload_seconds
        for folder in await self._content.folders():
            found = {blob.digest: blob for blob in await self._content.listed(folder) if blob.digest}
            for some in _parts(found):
                by_runs, by_sets = await self._needed_by_runs(some), await self._in_sets(some)
                taken += sum(found[digest].size_bytes for digest in by_runs - by_sets)
                forgotten = {d for d in some if d not in by_runs | by_sets and found[d].modified < before}
                tidied = replace(tidied, blob_bytes=tidied.blob_bytes + await self._content.drop(forgotten))
        return taken, tidied

    async def _needed_by_runs(self, digests: Collection[str]) -> set[str]:
        return await self._database.read(partial(records.referred, digests=digests))


def _parts(digests: Collection[str]) -> list[list[str]]:
    every = sorted(digests)
    return [every[start : start + _IN_ONE] for start in range(0, len(every), _IN_ONE)]
