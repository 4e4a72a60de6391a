"""Runs: accepted once, stored before they are seen, started in turn, and ended exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from functools import partial

from convscope_server.engine.engine import Blame, Engine
from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore
from convscope_server.priority import WEIGHT
from convscope_server.runs.appender import Appender
from convscope_server.runs.attendance import Attendance
from convscope_server.runs.dispatcher import Dispatcher
from convscope_server.runs.events import Cancelled, CancelReason, Error, Event, Failed, Note, is_terminal
from convscope_server.runs.intake import Intake
from convscope_server.runs.ledger import Ledger
from convscope_server.runs.limits import RunLimits
from convscope_server.runs.live import LiveRun
from convscope_server.runs.log import RunLog
from convscope_server.runs.pages import size_of
from convscope_server.runs.positions import Positions
from convscope_server.runs.queue import RunQueue
from convscope_server.runs.restarts import SHORT_OF_MEMORY, WORKER_LOST, restarted
from convscope_server.runs.run import Gap, LoggedEvent, RunFilter, RunRecord, RunRequest
from convscope_server.runs.sharing import Sharing
from convscope_server.runs.steering import Steering
from convscope_server.runs.store import RunPage, RunStore, no_run
from convscope_server.runs.twins import Twin, Twins
from convscope_server.runs.watch import Watcher

__all__ = ["RunService"]

_CLOSE_PATIENCE = 5.0


class RunService:
    """Everything about runs; the listener of its engine. All methods are called on one event loop.

    Where `owner` is given, other principals' runs are not found.

    Args:
        store: Where runs and events are kept; opened by `start`, closed by `close`.
        content: Where images and large results are kept.
        engine: Where runs are made; started by `start`, closed by `close`.
        limits: Bounds.
    """

    def __init__(self, store: RunStore, content: ContentStore, engine: Engine, limits: RunLimits | None = None) -> None:
        self._store = store
        self._content = content
        self._engine = engine
        self._limits = limits or RunLimits()
        self.observe: Callable[[RunRecord, Sequence[LoggedEvent]], None] = lambda _record, _entries: None
        self._live: dict[str, LiveRun] = {}
        self._ledger = Ledger()
        queue = RunQueue(self._ledger, ageing=self._limits.ageing, limits=self._limits.principal)
        self._dispatcher = Dispatcher(engine, content, queue, self._fail)
        self._positions = Positions(queue, self._dispatcher.pace)
        self._sharing = Sharing(store, self._take_over)
        self._twins = Twins(engine, store, self._sharing, enabled=self._limits.cache)
        self._intake = Intake(store, content, self._ledger, self._positions, self._limits, self._twins, self._begin)
        self._serving: set[asyncio.Task[None]] = set()
        self._attendance = Attendance(self._limits.disconnect_grace, self._cancel)
        self.steering = Steering(store)
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False

    async def start(self) -> None:
        """Start the engine and take up what an earlier server left: each run waits again, or has ended.

        Raises:
            RequestError: no worker could be started.
            StoreVersionError: the store was written by another version.
        """
        await asyncio.to_thread(self._store.open)
        await self._content.sweep()
        await self._engine.start(self)
        for owner, moment, seconds in await self._store.device_seconds_since(time.time() - 3600):
            self._ledger[owner].take(moment, seconds)
        await self._recover()
        self._serving = {asyncio.create_task(work) for work in (self._dispatcher.serve(), self._positions.follow())}

    async def close(self) -> None:
        """Stop now. Live runs stay as they are in the store, for the next server to take up."""
        self._closing = True
        self._intake.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._intake.settled()
        await self._sharing.close()
        await self._engine.close()
        left = list(self._live.values())
        await asyncio.gather(*(live.appender.close(patience=_CLOSE_PATIENCE) for live in left))
        for live in left:
            live.stop_timers()
            live.log.close()
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
        self._attendance.enter(live)
        try:
            async with aclosing(watcher.items()) as items:
                async for item in items:
                    yield item
        finally:
            self._attendance.leave(live)

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
            self._cancel(live, "requested")
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
        """Refuse new runs, let live ones end for `grace` seconds (default: the limit's), then cancel the rest.

        Returns when all have ended.
        """
        self._intake.close()
        await self._intake.settled()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain_grace if grace is None else grace):
                await self._idle.wait()
        for live in list(self._live.values()):
            self._cancel(live, "draining")
        await self._idle.wait()

    def run_events(self, run: str, events: Sequence[Event]) -> None:
        """Entries for a run's log; those of a run that has ended are dropped."""
        if self._closing:
            return
        over = any(is_terminal(event) for event in events)
        for live in self._takers(run):
            if over:
                live.on_engine = False
                live.stop_timers()
            live.put(events)

    def run_attained(self, run: str, seconds: float) -> None:
        """A run has taken so many device seconds in its attempt; its principal's account is charged."""
        for live in self._takers(run)[:1]:
            more, live.attained = max(0.0, seconds - live.attained), max(seconds, live.attained)
            live.device_seconds += more
            self._ledger.took(live.request.owner, more, WEIGHT[live.request.priority])

    def run_out_of_memory(self, run: str) -> None:
        """Let the run start again with smaller inner batches."""
        takers = self._given_back(run)
        if takers:
            takers[0].be_thrifty()
            self._start_again(takers[0], takers, SHORT_OF_MEMORY)

    def run_lost(self, run: str, *, started: bool, error: Error, blame: Blame) -> None:
        """Start the run again where it had not begun, was a bystander or may restart; else it has failed."""
        takers = self._given_back(run)
        if not takers:
            return
        live = takers[0]
        most, bystander = self._sharing.most_restarts(live), blame == "none"
        if blame != "certain" and live.may_start_again(most, started=started, bystander=bystander):
            self._start_again(live, takers if started else (), WORKER_LOST)
        else:
            self._fail(live, error)

    def _start_again(self, live: LiveRun, takers: Sequence[LiveRun], note: str) -> None:
        for taker in takers:
            taker.put([Note(note)])
        self._sharing.starts_anew(live)
        self._dispatcher.push(live, front=True)

    def room_changed(self) -> None:
        """Try to start the run whose turn it is."""
        self._dispatcher.wake()

    def _begin(self, record: RunRecord, entries: Sequence[LoggedEvent], twin: Twin | None) -> None:
        """Let a run that has been stored get what its twin makes or has made, or wait for its turn."""
        if record.id in self._live:
            return
        log = RunLog(record.id, last=0 if entries else record.last_sequence)
        log.publish(entries)
        live = self._come_alive(record, log)
        self.observe(record, entries)
        shares = record.request.cache != "bypass" and record.request.deadline_seconds is None
        head = self._sharing.head_of(record.identity) if shares else None
        if head is None and isinstance(twin, LiveRun) and twin.succeeded:
            head = twin  # it has ended meanwhile
        if head is not None:
            self._sharing.follow(live, head)
        elif isinstance(twin, RunRecord):
            self._sharing.replay(live, twin)
        else:
            self._sharing.lead(live, record.identity)
            self._dispatcher.push(live)

    def _take_over(self, old: LiveRun, new: LiveRun) -> None:
        """The old run leaves what the new one still wants."""
        new.go_on_from(old)
        if new.on_engine:
            old.on_engine = False
        elif self._dispatcher.remove(old):
            self._sharing.starts_anew(new)
            self._dispatcher.push(new)

    def _given_back(self, run: str) -> Sequence[LiveRun]:
        """The takers of a run that the engine has no more; empty where it has ended, or ends now that it may."""
        takers = self._takers(run)
        if not takers or takers[0].ending or self._closing:
            return ()
        live = takers[0]
        live.on_engine = False
        if live.cancelling is not None:
            self._end(live, Cancelled(live.cancelling))
        return takers if live.cancelling is None else ()

    def _takers(self, run: str) -> Sequence[LiveRun]:
        """Who takes what the engine says of a run."""
        return self._sharing.takers(run) or [live for live in (self._live.get(run),) if live is not None]

    def _come_alive(self, record: RunRecord, log: RunLog) -> LiveRun:
        appender = Appender(
            log,
            self._store,
            self._content,
            inline_bytes=self._limits.inline_bytes,
            on_failing=partial(self._leave_engine, record.id),
            on_end=partial(self._ended, record.id),
            on_stored=lambda entries: self.observe(record, entries),
            cost=lambda: live.device_seconds,
        )
        account = self._ledger[record.request.owner]
        live = LiveRun(record.id, record.request, record.create_time, log, appender, account)
        live.device_seconds = record.device_seconds
        self._live[record.id] = live
        self._idle.clear()
        self._attendance.look(live)
        return live

    async def _recover(self) -> None:
        """Runs that an earlier server left wait again in their order; those that had begun only if they may restart."""
        failing: list[LiveRun] = []
        for record, attempts in await self._store.alive():
            newest = await self._store.newest(record.id) if record.state == "running" else (0, 0)
            live = self._come_alive(record, RunLog(record.id, last=record.last_sequence, newest=newest))
            live.attempt = max(attempts, 1)
            self._sharing.lead(live, record.identity)
            if live.may_start_again(record.request.max_restarts, started=record.state == "running"):
                self._dispatcher.push(live)
            else:
                self._fail(live, restarted())
                failing.append(live)
        for live in failing:
            await live.log.until_end()

    def _cancel(self, live: LiveRun, reason: CancelReason) -> None:
        if live.ending or live.cancelling is not None:
            return
        live.cancelling = reason
        live.stop_disconnect_timer()
        engine_run = self._sharing.engine_run(live)
        if self._sharing.leave(live):
            self._end(live, Cancelled(reason))
            return
        self._dispatcher.remove(live)
        # Where the engine has it no more, and told nothing, nobody else would ever end the run.
        if not (live.on_engine and self._engine.cancel(engine_run, reason)):
            self._end(live, Cancelled(reason))

    def _fail(self, live: LiveRun, error: Error) -> None:
        for taker in self._sharing.takers(self._sharing.engine_run(live)) or [live]:
            self._end(taker, Failed(error))

    def _end(self, live: LiveRun, event: Cancelled | Failed) -> None:
        """End a run that no worker will end."""
        if not live.ending:
            live.on_engine = False
            live.stop_timers()
            live.put([event])

    def _ended(self, run: str) -> None:
        """The terminal event is stored."""
        self._leave_engine(run)
        live = self._live.pop(run)
        live.stop_timers()
        self._sharing.ended(live)
        if not self._live:
            self._idle.set()

    def _leave_engine(self, run: str) -> None:
        """Ended from this side: what it made could not be kept."""
        live = self._live[run]
        engine_run = self._sharing.engine_run(live)
        if live.on_engine and not self._sharing.leave(live):
            live.on_engine = False
            self._engine.cancel(engine_run, "requested")

    async def _log_of_ended(self, run: str, owner: str | None) -> RunLog:
        record = await self._store.get(run, owner=owner)
        return RunLog(run, last=record.last_sequence, ended=True)

    async def _find(self, run: str, owner: str | None) -> LiveRun | None:
        """The run where it is alive, even if its submission has been stored and not been noticed yet."""
        if run not in self._live:
            await self._intake.settled()
        live = self._live.get(run)
        if live is not None and owner not in {None, live.request.owner}:
            raise no_run(run)
        return live
