"""Runs: accepted once, stored before they are seen, started in turn, and ended exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path

from convscope_server.engine.engine import Engine
from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore
from convscope_server.runs.checkpoints import CheckpointFiles
from convscope_server.runs.intake import Intake
from convscope_server.runs.limits import RunLimits
from convscope_server.runs.live import LiveRun
from convscope_server.runs.live_runs import LiveRuns
from convscope_server.runs.log import RunLog
from convscope_server.runs.pages import size_of
from convscope_server.runs.run import Gap, LoggedEvent, RunFilter, RunRecord, RunRequest
from convscope_server.runs.steering import Steering
from convscope_server.runs.store import RunPage, RunStore, no_run
from convscope_server.runs.twins import Twins
from convscope_server.runs.watch import Watcher

__all__ = ["RunService"]


class RunService:
    """Everything about runs. All methods are called on one event loop.

    Where `owner` is given, other principals' runs are not found.

    Args:
        store: Where runs and events are kept; opened by `start`, closed by `close`.
        content: Where images and large results are kept.
        engine: Where runs are made; started by `start`, closed by `close`.
        limits: Bounds.
        checkpoints: The directory where workers keep what runs go on from, if there is one.

    Attributes:
        steering: Pauses, resumes and changes runs.
    """

    def __init__(
        self,
        store: RunStore,
        content: ContentStore,
        engine: Engine,
        limits: RunLimits | None = None,
        *,
        checkpoints: Path | None = None,
    ) -> None:
        self._store = store
        self._content = content
        self._engine = engine
        self._limits = limits or RunLimits()
        self._live = live = LiveRuns(store, content, engine, self._limits, CheckpointFiles(checkpoints))
        self._twins = Twins(engine, store, live.sharing, enabled=self._limits.cache)
        self._intake = Intake(store, content, live.ledger, live.positions, self._limits, self._twins, live.begin)
        self.steering = Steering(store, engine, live, self._find)
        self._serving: set[asyncio.Task[None]] = set()

    def observe_by(self, observe: Callable[[RunRecord, Sequence[LoggedEvent]], None]) -> None:
        """Have entries told once they are stored."""
        self._live.observe = observe

    async def start(self) -> None:
        """Start the engine and take up what an earlier server left: each run waits again, or has ended.

        Raises:
            RequestError: no worker could be started.
            StoreVersionError: the store was written by another version.
        """
        await asyncio.to_thread(self._store.open)
        await self._content.sweep()
        await self._engine.start(self._live)
        for owner, moment, seconds in await self._store.device_seconds_since(time.time() - 3600):
            self._live.ledger[owner].take(moment, seconds)
        await self._live.recover()
        work = (self._live.dispatcher.serve(), self._live.positions.follow())
        self._serving = set(map(asyncio.create_task, work))

    async def close(self) -> None:
        """Stop now. Live runs stay as they are in the store, for the next server to take up."""
        self._intake.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._intake.settled()
        self._live.stop_listening()
        await self._engine.close()
        await self._live.close()
        await asyncio.to_thread(self._store.close)

    async def submit(self, request: RunRequest) -> RunRecord:
        """Accept a run. Its Accepted and Queued are stored on return; a repeated request id gives the same run.

        A request that is identical to another one joins it or gets its log, unless the cache policy says otherwise.

        Raises:
            RequestError: ALREADY_EXISTS, REQUEST_ID_REUSED; RESOURCE_EXHAUSTED, QUEUE_FULL, QUOTA_EXCEEDED or
                STORAGE_FULL (with metadata "retry_after_seconds" where time may help); FAILED_PRECONDITION, NOT_CACHED;
                UNAVAILABLE, DRAINING.
        """
        return await self._intake.submit(request)

    async def watch(
        self,
        run: str,
        *,
        after_sequence: int = 0,
        skip_previews: bool = False,
        every_preview: bool = False,
        owner: str | None = None,
    ) -> AsyncGenerator[LoggedEvent | Gap, None]:
        """A run's log after a sequence, followed to its terminal event; see `runs.watch` for slow watchers.

        Closing the generator ends the watching, which counts for on_disconnect = "cancel".

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND; UNAVAILABLE, SERVER_CLOSED.
        """
        live = await self._find(run, owner)
        log = live.log if live is not None else await self._log_of_ended(run, owner)
        watcher = Watcher(
            log, self._store, after=after_sequence, skip_previews=skip_previews, every_preview=every_preview
        )
        self._live.attendance.enter(live)
        try:
            async with aclosing(watcher.items()) as items:
                async for item in items:
                    yield item
        finally:
            self._live.attendance.leave(live)

    async def get(self, run: str, *, owner: str | None = None) -> RunRecord:
        """A run as it is stored now.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND.
        """
        return await self._store.get(run, owner=owner)

    async def list(self, where: RunFilter, *, page_size: int = 50, page_token: str = "") -> RunPage:
        """A page of at most `page_size` (0: 50, at most 1,000) runs, newest first, and the next page's token or "".

        Runs that come while somebody pages appear on none of the later pages, and none is left out or comes twice.

        Raises:
            RequestError: INVALID_ARGUMENT, PAGE_TOKEN_INVALID or PAGE_SIZE_INVALID.
        """
        return await self._store.page(where, page_size=size_of(page_size), page_token=page_token)

    async def cancel(self, run: str, *, owner: str | None = None) -> RunRecord:
        """Ask a run to end at its next step; one that waits ends now, one that has ended is given as it is.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND.
        """
        live = await self._find(run, owner)
        if live is not None:
            self._live.cancel(live, "requested")
            if live.ending:
                await live.log.until_end()
        return await self._store.get(run, owner=owner)

    async def delete(self, run: str, *, owner: str | None = None) -> None:
        """Forget an ended run, its events, and the blobs that it made and nothing else refers to.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND; FAILED_PRECONDITION, RUN_ALIVE.
        """
        live = await self._find(run, owner)
        if live is not None and live.ending:  # its end can be read in the store a moment before it is known here
            await live.appender.settled()
        if run in self._live:
            raise RequestError.of(
                "FAILED_PRECONDITION",
                "RUN_ALIVE",
                f"run {run} has not ended; cancel it, or wait for its end",
                metadata={"run": run},
            )
        await self._store.get(run, owner=owner)
        async with self.parting(run):
            await self._content.drop(await self._store.delete(run))

    def parting(self, run: str) -> AbstractAsyncContextManager[None]:
        """Within it an ended run may go: no other one gets its events from it."""
        return self._twins.parting(run, self._intake.settled)

    async def drain(self, grace: float | None = None) -> None:
        """Refuse new runs, and take live ones off their devices within `grace` seconds (default: the limit's).

        Those that are resumable are put down at their next step. The others may end; what has not by then starts again
        from its beginning when the next server takes it up, as everything does that waits. Returns when it is done.
        """
        self._intake.close()
        await self._intake.settled()
        await self._live.lay_down(self._limits.drain_grace if grace is None else grace)

    async def _find(self, run: str, owner: str | None) -> LiveRun | None:
        """The run where it is alive, even if its submission has been stored and not been noticed yet."""
        if run not in self._live:
            await self._intake.settled()
        live = self._live.get(run)
        if live is not None and owner not in {None, live.request.owner}:
            raise no_run(run)
        return live

    async def _log_of_ended(self, run: str, owner: str | None) -> RunLog:
        record = await self._store.get(run, owner=owner)
        return RunLog(run, last=record.last_sequence, ended=True)
