"""Indexes of image sets that nobody needs any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from convscope_sdk.image_sets.parts import Part, parts, remove
from convscope_server.images.set_store import ImageSetStore
from convscope_server.images.uploaded import UploadedSource
from convscope_server.runs.store import RunStore

__all__ = ["Indexes"]


class Indexes:
    """What workers keep of image sets. All of it can be made again.

    A part goes when no run has used it for as long as runs are kept, or when the uploaded set that it was last used
    for has been deleted. It stays as long as a live run may have it open, or asks for a set of that name.

    Args:
        directory: Where they lie; None where nothing is kept.
        runs: Knows which runs are alive.
        sets: Knows which sets clients uploaded.
        clock: Unix seconds.
    """

    def __init__(
        self, directory: Path | None, runs: RunStore, sets: ImageSetStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._directory = directory
        self._runs = runs
        self._sets = sets
        self._clock = clock

    async def unneeded(self, seconds: float) -> list[Part]:
        """The parts that may go; `seconds` is the time that runs are kept, 0 for ever."""
        if self._directory is None:
            return []
        found = await asyncio.to_thread(parts, self._directory)
        alive = [record for record, _ in await self._runs.alive()]
        since = min([self._clock(), *(record.create_time for record in alive)])
        wanted = {
            name for record in alive for name in (*record.request.image_sets, record.request.params.get("image_set"))
        }
        uploaded = {each.name for each in await self._sets.all()}

        def may_go(part: Part) -> bool:
            deleted = part.source == UploadedSource.name and part.set_name not in uploaded
            too_old = bool(seconds) and part.used < self._clock() - seconds
            return (deleted or too_old) and part.used < since and part.set_name not in wanted

        return [part for part in found if may_go(part)]

    async def remove(self, unneeded: list[Part]) -> int:
        """Remove parts, but for those that are being made; gives the bytes."""
        return sum([await asyncio.to_thread(remove, part) for part in unneeded])
