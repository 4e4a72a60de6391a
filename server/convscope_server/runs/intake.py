"""How runs come in: refused where they would be too much, and stored before anybody hears of them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore
from convscope_server.room import StorageFullError
from convscope_server.runs.events import Accepted, Event, Queued
from convscope_server.runs.ledger import Ledger
from convscope_server.runs.limits import RunLimits
from convscope_server.runs.positions import Positions
from convscope_server.runs.quota import draining, over_quota, queue_full
from convscope_server.runs.run import LoggedEvent, RunRecord, RunRequest
from convscope_server.runs.store import RunStore
from convscope_server.runs.twins import Twin, Twins, not_cached

__all__ = ["Intake"]


@dataclass(slots=True, eq=False)
class Intake:
    """Takes runs in.

    Attributes:
        store: Where they are kept.
        content: Where their pictures are.
        ledger: Who has how much.
        positions: Says how long a new run will wait.
        limits: Bounds.
        twins: Finds what is made already.
        begin: Called with each new run's record, first entries, and twin, once they are stored. Also called,
            without entries, with one that was asked for again and may not be under way.
    """

    store: RunStore
    content: ContentStore
    ledger: Ledger
    positions: Positions
    limits: RunLimits
    twins: Twins
    begin: Callable[[RunRecord, Sequence[LoggedEvent], Twin | None], None]
    _submissions: set[asyncio.Task[RunRecord]] = field(default_factory=set)
    _open: bool = True

    def close(self) -> None:
        """Refuse new runs from now on; those that are known already are still given."""
        self._open = False

    async def submit(self, request: RunRequest) -> RunRecord:
        """Accept a run; see `RunService.submit`."""
        # Not cut short with its caller: a stored run that nobody queued would wait for the next restart.
        task = asyncio.create_task(self._submit(request))
        self._submissions.add(task)
        task.add_done_callback(self._submitted)
        return await asyncio.shield(task)

    async def settled(self) -> None:
        """Returns when all that were being accepted wait, or are refused."""
        await asyncio.gather(*self._submissions, return_exceptions=True)

    async def _submit(self, request: RunRequest) -> RunRecord:
        if not request.request_id:
            request = replace(request, request_id=str(uuid.uuid4()))
        kept = await self.store.stored_bytes(request.owner) if self.limits.principal.stored_bytes else 0
        identity = await self.twins.identity(request)
        twin = await self.twins.find(request, identity)
        refusal = await self._refusal(request, kept, made=twin is not None)
        if refusal is None and twin is None and request.cache == "only":
            refusal = not_cached(identity)
        if refusal is not None:
            earlier = await self.store.find(request)
            if earlier is None:
                raise refusal
            return earlier
        now, place = time.time(), self.ledger.in_front(request.owner)
        run = uuid.uuid4().hex
        first: tuple[Event, ...] = (
            Accepted(request.request_id),
            Queued(place, self.positions.eta(place) if place else None),
        )
        entries = [LoggedEvent(run, i, now, event) for i, event in enumerate(first, start=1)]
        new = RunRecord(run, "queued", request, now, last_sequence=len(entries), identity=identity)
        account = self.ledger[request.owner]
        account.coming += 1
        try:
            record, created = await self.store.insert(new, entries)
        except StorageFullError:
            self.content.room.found_none()
            raise
        finally:
            account.coming -= 1
        self.content.used([*request.inputs.values(), *request.image_sets.values()])
        if created:
            self.positions.told(run, place)
        if created or record.state == "queued":  # an earlier try may have been stored, and its answer lost
            self.begin(record, entries if created else [], twin if created else None)
        return record

    async def _refusal(self, request: RunRequest, stored_bytes: int, *, made: bool) -> RequestError | None:
        if await self.content.room.is_full():
            return StorageFullError()
        if not self._open:
            return draining()
        waiting = self.ledger.waiting
        if waiting >= self.limits.max_queued and not made:
            return queue_full(waiting, self.positions.eta(0))
        return over_quota(request.owner, self.limits.principal, self.ledger, stored_bytes)

    def _submitted(self, task: asyncio.Task[RunRecord]) -> None:
        self._submissions.discard(task)
        if not task.cancelled():
            task.exception()  # seen: the caller may be gone
