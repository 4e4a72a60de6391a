"""How runs come in: refused where they would be too much, and stored before anybody hears of them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence

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

__all__ = ["Intake"]


class Intake:
    """Takes runs in.

    Args:
        store: Where they are kept.
        content: Where their pictures are.
        ledger: Who has how much.
        positions: Says how long a new run will wait.
        limits: Bounds.
        enqueue: Called with each new run's record and first entries once they are stored; it waits from then on.
    """

    def __init__(
        self,
        store: RunStore,
        content: ContentStore,
        ledger: Ledger,
        positions: Positions,
        *,
        limits: RunLimits,
        enqueue: Callable[[RunRecord, Sequence[LoggedEvent]], None],
    ) -> None:
        self._store = store
        self._content = content
        self._ledger = ledger
        self._positions = positions
        self._limits = limits
        self._enqueue = enqueue
        self._submissions: set[asyncio.Task[RunRecord]] = set()
        self._open = True

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
        kept = await self._store.stored_bytes(request.owner) if self._limits.principal.stored_bytes else 0
        is_full = await self._content.room.is_full()
        refusal = StorageFullError() if is_full else self._refusal(request, kept)
        if refusal is not None:
            earlier = await self._store.find(request)
            if earlier is None:
                raise refusal
            return earlier
        now, place = time.time(), self._ledger.in_front(request.owner)
        run = uuid.uuid4().hex
        first: tuple[Event, ...] = (
            Accepted(request.request_id),
            Queued(place, self._positions.eta(place) if place else None),
        )
        entries = [LoggedEvent(run, i, now, event) for i, event in enumerate(first, start=1)]
        new = RunRecord(run, "queued", request, now, last_sequence=len(entries))
        account = self._ledger[request.owner]
        account.coming += 1
        try:
            record, created = await self._store.insert(new, entries)
        except StorageFullError:
            self._content.room.found_none()
            raise
        finally:
            account.coming -= 1
        self._content.used([*request.inputs.values(), *request.image_sets.values()])
        if created:
            self._positions.told(run, place)
            self._enqueue(record, entries)
        return record

    def _refusal(self, request: RunRequest, stored_bytes: int) -> RequestError | None:
        if not self._open:
            return draining()
        waiting = self._ledger.waiting
        if waiting >= self._limits.max_queued:
            return queue_full(waiting, self._positions.eta(0))
        return over_quota(request.owner, self._limits.principal, self._ledger, stored_bytes)

    def _submitted(self, task: asyncio.Task[RunRecord]) -> None:
        self._submissions.discard(task)
        if not task.cancelled():
            task.exception()  # seen: the caller may be gone
