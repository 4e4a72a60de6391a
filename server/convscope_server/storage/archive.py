"""Everything that is stored: runs, image sets, and the blobs that they are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from convscope_server.images.content import ContentStore
from convscope_server.images.set_store import ImageSetStore
from convscope_server.room import Room
from convscope_server.runs.store import RunStore
from convscope_server.storage import records
from convscope_server.storage.indexes import Indexes
from convscope_server.storage.limits import KeepLimits
from convscope_server.storage.live_sets import LiveSets
from convscope_server.storage.retention import Parting, Retention

__all__ = ["Archive"]

_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Archive:
    """The stores of a server, which know of each other what must stay."""

    runs: RunStore
    image_sets: ImageSetStore
    content: ContentStore
    limits: KeepLimits
    clock: Callable[[], float] = time.time
    index_dir: Path | None = None

    @classmethod
    def at(
        cls,
        database: str,
        blobs: str,
        limits: KeepLimits,
        *,
        max_bytes: int = _MAX_BYTES,
        clock: Callable[[], float] = time.time,
        room: Room | None = None,
        index_dir: Path | None = None,
    ) -> Archive:
        """What lies in a database (SQLAlchemy URL) and a place for blobs (fsspec URL); nothing is opened yet.

        Indexes of image sets, if any are kept, lie in `index_dir`.
        """
        lease = limits.upload_seconds
        content = ContentStore(blobs, max_bytes=max_bytes, lease_seconds=lease, clock=clock, room=room)
        found = cls(RunStore(database), ImageSetStore(database), content, limits, clock, index_dir)
        content.holders += [found.runs.referred, found.image_sets.referred, LiveSets(found.runs, content).needed]
        content.forgetters.append(found._let_go)
        return found

    def retention(self, parting: Parting = nullcontext) -> Retention:
        """Keeps it within its limits; `parting` makes sure of a run that it may go."""
        in_sets = self.image_sets.referred
        return Retention(self.runs, self.content, in_sets, self.indexes, self.limits, parting=parting, clock=self.clock)

    @property
    def indexes(self) -> Indexes:
        """What workers keep of image sets."""
        return Indexes(self.index_dir, self.runs, self.image_sets, self.clock)

    async def _let_go(self, digests: Collection[str]) -> None:
        await self.runs.write(partial(records.let_go, digests=sorted(digests)))
