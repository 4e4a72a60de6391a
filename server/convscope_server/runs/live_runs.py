"""The runs that have not ended: what the engine says of them, and how each comes to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from convscope_server.engine.engine import Blame, Engine
from convscope_server.images.content import ContentStore
from convscope_server.priority import WEIGHT
from convscope_server.runs.appender import Appender
from convscope_server.runs.attendance import Attendance
from convscope_server.runs.checkpoints import CheckpointFiles
from convscope_server.runs.dispatcher import Dispatcher
from convscope_server.runs.events import (
    Cancelled,
    CancelReason,
    Checkpointed,
    Error,
    Event,
    Failed,
    Note,
    Paused,
    Queued,
    Updated,
    is_terminal,
)
from convscope_server.runs.ledger import Ledger
from convscope_server.runs.limits import RunLimits
from convscope_server.runs.live import LiveRun
from convscope_server.runs.log import RunLog
from convscope_server.runs.positions import Positions
from convscope_server.runs.preemption import Preemption
from convscope_server.runs.queue import RunQueue
from convscope_server.runs.restarts import NOT_KEPT, SHORT_OF_MEMORY, restarted, worker_lost
from convscope_server.runs.run import LoggedEvent, RunRecord, steered
from convscope_server.runs.sharing import Sharing
from convscope_server.runs.store import RunStore
from convscope_server.runs.twins import Twin

__all__ = ["LiveRuns"]

_CLOSE_PATIENCE = 5.0

Observe = Callable[[RunRecord, Sequence[LoggedEvent]], None]


class LiveRuns(Mapping[str, LiveRun]):
    """Every run from its acceptance to its terminal event; the listener of its engine.

    Args:
        store: Where runs and events are kept.
        content: Where images and large results are kept.
        engine: Where runs are made.
        limits: Bounds.
        checkpoints: The files that runs go on from.

    Attributes:
        ledger: Who has how much.
        positions: Says how long a new run will wait.
        sharing: Who shares what is made.
        attendance: Who is watched.
        observe: Called with entries once they are stored.
    """

    def __init__(
        self,
        store: RunStore,
        content: ContentStore,
        engine: Engine,
        limits: RunLimits,
        checkpoints: CheckpointFiles,
    ) -> None:
        self._store = store
        self._content = content
        self._engine = engine
        self._limits = limits
        self._checkpoints = checkpoints
        self.observe: Observe = lambda _record, _entries: None
        self._runs: dict[str, LiveRun] = {}
        self.ledger = Ledger()
        queue = RunQueue(self.ledger, ageing=limits.ageing, limits=limits.principal)
        self.sharing = Sharing(store, self._take_over)
        preemption = Preemption(engine, self._on_engine, self._suspend, self.sharing.owners)
        self.dispatcher = Dispatcher(engine, content, queue, self._fail, preemption)
        self.positions = Positions(queue, self.dispatcher.pace)
        self.attendance = Attendance(limits.disconnect_grace, self.cancel)
        self._moved = asyncio.Event()
        self._closing = False

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __getitem__(self, run: str) -> LiveRun:
        return self._runs[run]

    # From the engine

    def run_events(self, run: str, events: Sequence[Event]) -> None:
        """Entries for a run's log; those of a run that has ended are dropped."""
        if self._closing:
            return
        over = any(is_terminal(event) for event in events)
        takers = self._takers(run)
        if not takers:
            self._checkpoints.unwanted(events)
        for live in takers:
            if over:
                live.on_engine = False
                live.stop_timers()
            self._heed(live, events)
            live.put(events)

    def _heed(self, live: LiveRun, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Checkpointed):
                live.checkpoint = event
            elif isinstance(event, Updated):
                self.sharing.part(live)
                live.request = steered(live.request, [event])

    def run_attained(self, run: str, seconds: float) -> None:
        """A run has taken so many device seconds in its attempt; its principal's account is charged."""
        for live in self._takers(run)[:1]:
            more, live.attained = max(0.0, seconds - live.attained), max(seconds, live.attained)
            live.device_seconds += more
            self.ledger.took(live.request.owner, more, WEIGHT[live.request.priority])

    def run_out_of_memory(self, run: str) -> None:
        """Let the run start again with smaller inner batches."""
        if takers := self._given_back(run):
            takers[0].be_thrifty()
            self._start_again(takers[0], takers, SHORT_OF_MEMORY)

    def run_suspended(self, run: str, *, left: bool) -> None:
        """Let the run wait, for its turn or to be resumed; or tell that it could not be put down."""
        if not left:
            for live in self._takers(run)[:1]:
                if live.pausing:
                    live.put([Note(NOT_KEPT)])
                live.pausing = live.giving_way = False
        elif takers := self._given_back(run):
            self._wait_again(takers[0], takers)

    def run_lost(self, run: str, *, started: bool, error: Error, blame: Blame) -> None:
        """Start the run again where it had not begun, was a bystander, was kept or may restart; else it has failed."""
        self._checkpoints.lost(run, [live.checkpoint for live in self._takers(run)])
        takers = self._given_back(run)
        if not takers:
            return
        live = takers[0]
        most, bystander = self.sharing.most_restarts(live), blame == "none"
        if blame != "certain" and live.may_start_again(most, started=started, bystander=bystander):
            self._start_again(live, takers if started else (), worker_lost(live.checkpoint))
        else:
            self._fail(live, error)

    def room_changed(self) -> None:
        """Try to start the run whose turn it is."""
        self.dispatcher.wake()
        self._moved.set()

    # From outside

    def begin(self, record: RunRecord, entries: Sequence[LoggedEvent], twin: Twin | None) -> None:
        """Let a run that has been stored get what its twin makes or has made, or wait for its turn."""
        if record.id in self._runs:
            return
        log = RunLog(record.id, last=0 if entries else record.last_sequence)
        log.publish(entries)
        live = self._come_alive(record, log)
        self.observe(record, entries)
        shares = record.request.cache != "bypass" and record.request.deadline_seconds is None
        head = self.sharing.head_of(record.identity) if shares else None
        if head is None and isinstance(twin, LiveRun) and twin.succeeded:  # it has ended meanwhile
            head = twin if twin.request.updates == record.request.updates else None
        if head is not None:
            self.sharing.follow(live, head)
        elif isinstance(twin, RunRecord):
            self.sharing.replay(live, twin)
        else:
            self.sharing.lead(live, record.identity)
            self.dispatcher.push(live)

    async def recover(self) -> None:
        """Runs that an earlier server left wait again in their order; those that had begun only if they may restart."""
        failing: list[LiveRun] = []
        kept: dict[str, str] = {}
        for record, attempts in await self._store.alive():
            newest = await self._store.newest(record.id) if record.state == "running" else (0, 0)
            live = self._come_alive(record, RunLog(record.id, last=record.last_sequence, newest=newest))
            live.attempt = max(attempts, 1)
            live.checkpoint = await self._store.checkpoint(record.id)
            if live.checkpoint is not None:
                kept[record.id] = live.checkpoint.key
            if record.state == "paused":
                self.sharing.lead(live, record.identity)
                self._rest(live)
            elif not live.may_start_again(record.request.max_restarts, started=record.state == "running"):
                self._fail(live, restarted())
                failing.append(live)
            elif not self.sharing.take_up(live, record.identity):
                self.dispatcher.push(live)
        await self._checkpoints.sweep(kept)
        for live in failing:
            await live.log.until_end()

    def cancel(self, live: LiveRun, reason: CancelReason) -> None:
        """End a run at its next step, or now where it takes none."""
        if live.ending or live.cancelling is not None:
            return
        live.cancelling = reason
        live.stop_disconnect_timer()
        engine_run = self.sharing.engine_run(live)
        if self.sharing.leave(live):
            self._end(live, Cancelled(reason))
            return
        self.dispatcher.remove(live)
        # Where the engine has it no more, and told nothing, nobody else would ever end the run.
        if not (live.on_engine and self._engine.cancel(engine_run, reason)):
            self._end(live, Cancelled(reason))

    def pause(self, live: LiveRun) -> None:
        """Take a run that shares nothing off its device at its next step, or out of the queue now."""
        if live.on_engine:
            live.pausing = True
            self._suspend(live)  # False: it is on its way off
        elif self.dispatcher.remove(live):
            self._lay_aside(live)

    def resume(self, live: LiveRun) -> None:
        """Let a paused run wait for its turn."""
        live.pausing = False
        if live.paused:
            live.paused = False
            place = self.ledger.in_front(live.request.owner)
            live.put([Queued(place, self.positions.eta(place) if place else None)])
            self.dispatcher.push(live)
            self.attendance.look(live)

    def update(self, live: LiveRun, event: Updated) -> None:
        """Change parameters of a run that waits or is paused."""
        self._heed(live, [event])
        live.put([event])
        self.dispatcher.forget(live)

    async def lay_down(self, grace: float) -> None:
        """Take every run off its device: those that can go on later at once, others when they have ended.

        Whatever is still there after `grace` seconds starts again from its beginning, as those do that wait now, when
        the next server takes them up.
        """
        self.dispatcher.hold()
        for live in self._on_engine():
            if self._engine.catalog.is_resumable(live.request.technique):
                self._suspend(live)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._on_engine():
                    self._moved.clear()
                    await self._moved.wait()
        for live in self._on_engine():
            if takers := self._given_back(self.sharing.engine_run(live)):
                self._wait_again(live, takers)
        self._closing = True

    def stop_listening(self) -> None:
        """Nothing that the engine says counts any more."""
        self._closing = True

    async def close(self) -> None:
        """Stop now; the engine is closed already. The runs stay as they are in the store."""
        await self.sharing.close()
        left = list(self._runs.values())
        await asyncio.gather(*(live.appender.close(patience=_CLOSE_PATIENCE) for live in left))
        for live in left:
            live.stop_timers()
            live.log.close()

    # How

    def _on_engine(self) -> list[LiveRun]:
        return [live for live in self._runs.values() if live.on_engine]

    def _suspend(self, live: LiveRun) -> bool:
        return self._engine.suspend(self.sharing.engine_run(live))

    def _wait_again(self, live: LiveRun, takers: Sequence[LiveRun]) -> None:
        """A run that was put down is paused, or in the queue."""
        if live.pausing:
            self._lay_aside(live)
            return
        for taker in takers:
            taker.put([Queued(self.ledger.in_front(live.request.owner))])
        self.sharing.starts_anew(live)
        self.dispatcher.push(live)

    def _start_again(self, live: LiveRun, takers: Sequence[LiveRun], note: str) -> None:
        for taker in takers:
            taker.put([Note(note)])
        self.sharing.starts_anew(live)
        if live.pausing:
            self._lay_aside(live)
        else:
            self.dispatcher.push(live, front=True)

    def _lay_aside(self, live: LiveRun) -> None:
        self._rest(live)
        live.put([Paused()])

    def _rest(self, live: LiveRun) -> None:
        live.pausing, live.paused = False, True
        live.stop_disconnect_timer()
        self.sharing.starts_anew(live)
        self.dispatcher.watch_deadline(live)

    def _take_over(self, old: LiveRun, new: LiveRun) -> None:
        """The old run leaves what the new one still wants."""
        new.go_on_from(old)
        self._checkpoints.lent(new.id, new.checkpoint)
        if new.on_engine:
            old.on_engine = False
        elif self.dispatcher.remove(old):
            self.sharing.starts_anew(new)
            self.dispatcher.push(new)

    def _given_back(self, run: str) -> Sequence[LiveRun]:
        """The takers of a run that the engine has no more; empty where it has ended, or ends now that it may."""
        takers = self._takers(run)
        if not takers or takers[0].ending or self._closing:
            return ()
        live = takers[0]
        live.on_engine = live.giving_way = False
        if live.cancelling is not None:
            self._end(live, Cancelled(live.cancelling))
        return takers if live.cancelling is None else ()

    def _takers(self, run: str) -> Sequence[LiveRun]:
        """Who takes what the engine says of a run."""
        return self.sharing.takers(run) or [live for live in (self._runs.get(run),) if live is not None]

    def _come_alive(self, record: RunRecord, log: RunLog) -> LiveRun:
        appender = Appender(
            log,
            self._store,
            self._content,
            inline_bytes=self._limits.inline_bytes,
            on_failing=partial(self._leave_engine, record.id),
            on_end=partial(self._ended, record.id),
            on_stored=partial(self._stored, record),
            cost=lambda: live.device_seconds,
        )
        account = self.ledger[record.request.owner]
        live = LiveRun(record.id, record.request, record.create_time, log, appender, account)
        live.device_seconds = record.device_seconds
        self._runs[record.id] = live
        if record.state != "paused":
            self.attendance.look(live)
        return live

    def _stored(self, record: RunRecord, entries: Sequence[LoggedEvent]) -> None:
        self._checkpoints.stored(record.id, entries)
        self.observe(record, entries)

    def _fail(self, live: LiveRun, error: Error) -> None:
        for taker in self.sharing.takers(self.sharing.engine_run(live)) or [live]:
            self._end(taker, Failed(error))

    def _end(self, live: LiveRun, event: Cancelled | Failed) -> None:
        """End a run that no worker will end."""
        if not live.ending:
            live.on_engine = live.paused = False
            live.stop_timers()
            live.put([event])

    def _ended(self, run: str) -> None:
        """The terminal event is stored."""
        self._leave_engine(run)
        live = self._runs.pop(run)
        live.paused = False
        self.dispatcher.remove(live)
        live.stop_timers()
        self.sharing.ended(live)
        self._checkpoints.dropped(run)

    def _leave_engine(self, run: str) -> None:
        """Ended from this side: what it made could not be kept."""
        live = self._runs[run]
        engine_run = self.sharing.engine_run(live)
        if live.on_engine and not self.sharing.leave(live):
            live.on_engine = False
            self._engine.cancel(engine_run, "requested")
