"""Identical runs are computed once: one of them is on the engine, the others get what it gets.

The run that the engine knows is the *head*. Runs that come later follow the head's log, from its beginning, into
their own. When the head is cancelled while others want its picture, the first of them becomes the head without the
device noticing: from that moment on each of them takes the engine's events itself, holding them back until it has
copied what the old head had got by then. So every log has each event once and in order, whoever leaves when.

A run whose picture an ended run has made already follows the log of that one, and no device takes part. Runs with a
deadline, which the worker keeps, share nothing that is still being made; nobody joins a run with the cache policy
"bypass", nor one that is paused, cancelled or changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from msgspec.structs import replace

from convscope_server.errors import RequestError
from convscope_server.priority import RANK
from convscope_server.runs.events import Accepted, Checkpointed, Error, Event, Failed, Note, Paused, Queued, is_terminal
from convscope_server.runs.live import LiveRun
from convscope_server.runs.log import RunLog
from convscope_server.runs.run import LoggedEvent, RunRecord
from convscope_server.runs.watch import EventSource, Watcher

__all__ = ["Sharing"]

_AT_ONCE = 32  # copied events that may wait for the store
_FIRST_PLACE = 2  # Accepted, Queued: each log has its own
_JOINED = "an identical run is under way: this one gets what that one makes"
_REPLAYED = "an identical run has made this already: what follows is from its log"


@dataclass(slots=True, eq=False)
class _Execution:
    """What an engine does for several runs.

    Attributes:
        identity: What they have in common; see `runs.identity`.
        head: The run that answers for it.
        engine_run: The id under which the engine has it.
        others: The runs besides the head, first come first.
    """

    identity: str
    head: LiveRun
    engine_run: str
    others: list[LiveRun] = field(default_factory=list)


class Sharing:
    """Who shares what.

    Args:
        source: Where logs are read from.
        take_over: Called with the old and the new head, when the old one leaves.
    """

    def __init__(self, source: EventSource, take_over: Callable[[LiveRun, LiveRun], None]) -> None:
        self._source = source
        self._take_over = take_over
        self._by_identity: dict[str, _Execution] = {}
        self._by_engine_run: dict[str, _Execution] = {}
        self._by_run: dict[str, _Execution] = {}
        self._copying: dict[str, tuple[LiveRun, asyncio.Task[None]]] = {}  # by the run that gets
        self._copied: dict[str, set[asyncio.Task[None]]] = {}  # by the run that gives

    def lead(self, live: LiveRun, identity: str) -> None:
        """Let later runs of this identity share what the run makes; none where it is empty."""
        if identity and live.request.deadline_seconds is None and live.request.cache != "bypass":
            execution = _Execution(identity, live, live.id)
            self._by_run[live.id] = self._by_engine_run[live.id] = execution
            if self.head_of(identity) is None:
                self._by_identity[identity] = execution

    def head_of(self, identity: str) -> LiveRun | None:
        """The run that others of this identity can follow now, or None."""
        execution = self._by_identity.get(identity)
        if execution is None or execution.head.held is not None:
            return None
        head = execution.head
        if head.paused or head.pausing or head.cancelling is not None:
            return None
        return head if head.succeeded or not head.ending else None

    def follow(self, live: LiveRun, head: LiveRun) -> None:
        """Let a run get all that the head has got and will get; it lends the head its priority."""
        execution = self._by_run.get(head.id)
        if execution is not None:
            execution.others.append(live)
            self._by_run[live.id] = execution
        if RANK[live.request.priority] < RANK[head.request.priority]:
            head.request = replace(head.request, priority=live.request.priority)
        live.put([Note(_JOINED)])
        self._copy(live, head.log, places=True)

    def take_up(self, live: LiveRun, identity: str) -> bool:
        """Let a run that an earlier server left share again what it shared; False where it leads from now on.

        It has all that came before its newest checkpoint, so it shares with one that goes on from the same.
        """
        shares = live.request.cache != "bypass" and live.request.deadline_seconds is None
        head = self.head_of(identity) if identity and shares else None
        execution = None if head is None else self._by_run.get(head.id)
        if head is None or execution is None or head.checkpoint != live.checkpoint:
            self.lead(live, identity)
            return False
        execution.others.append(live)
        self._by_run[live.id] = execution
        return True

    def replay(self, live: LiveRun, ended: RunRecord) -> None:
        """Let a run get what an ended one got."""
        live.put([Note(_REPLAYED)])
        self._copy(live, RunLog(ended.id, last=ended.last_sequence, ended=True), places=False)

    def takers(self, engine_run: str) -> list[LiveRun]:
        """The runs that take themselves what the engine says of one of its runs, the head first.

        Empty where the run shares nothing. Those that follow the head's log are not among them.
        """
        execution = self._by_engine_run.get(engine_run)
        if execution is None:
            return []
        taking = (one for one in execution.others if one.held is not None or one.id not in self._copying)
        return [execution.head, *taking]

    def engine_run(self, live: LiveRun) -> str:
        """The id under which the engine has a run."""
        execution = self._by_run.get(live.id)
        return live.id if execution is None else execution.engine_run

    def most_restarts(self, live: LiveRun) -> int:
        """How often the run may start again for the sake of any that share it."""
        return max(one.request.max_restarts for one in self._sharing(live))

    def owners(self, live: LiveRun) -> set[str]:
        """Whose runs get what the run makes."""
        return {one.request.owner for one in self._sharing(live)}

    def is_shared(self, live: LiveRun) -> bool:
        """Whether another run gets what this one makes, or this one what another makes."""
        execution = self._by_run.get(live.id)
        alone = execution is None or (live is execution.head and not execution.others)
        return live.id in self._copying or not alone

    def part(self, live: LiveRun) -> None:
        """Let no later run share what this one makes: it is not what was asked for any more."""
        execution = self._by_run.get(live.id)
        if execution is not None and self._by_identity.get(execution.identity) is execution:
            del self._by_identity[execution.identity]

    def starts_anew(self, head: LiveRun) -> None:
        """The engine does not have the run now, and will get it under the head's id."""
        execution = self._by_run.get(head.id)
        if execution is not None:
            self._by_engine_run.pop(execution.engine_run, None)
            execution.engine_run = head.id
            self._by_engine_run[head.id] = execution

    def leave(self, live: LiveRun) -> bool:
        """The run is about to end by itself; False where the engine works for nobody else, and should stop with it."""
        copying = self._stop_copying(live)
        execution = self._by_run.get(live.id)
        if execution is None:
            return copying
        if live is not execution.head:
            execution.others.remove(live)
            del self._by_run[live.id]
            return True
        if execution.others:
            self._hand_over(execution)
            return True
        return False

    def ended(self, live: LiveRun) -> None:
        """The run's terminal event is stored."""
        self._stop_copying(live)
        execution = self._by_run.pop(live.id, None)
        if execution is None:
            return
        if live is not execution.head:
            execution.others.remove(live)
            return
        for other in execution.others:
            self._by_run.pop(other.id, None)
        self._by_engine_run.pop(execution.engine_run, None)
        if self._by_identity.get(execution.identity) is execution:
            del self._by_identity[execution.identity]

    async def copied(self, run: str) -> None:
        """Returns when nobody copies this run's log any more."""
        while tasks := self._copied.get(run):
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Stop copying. Who got something waits from now on, on no device: the next server lets it begin, or go on."""
        copying = list(self._copying.values())
        for _, task in copying:
            task.cancel()
        await asyncio.gather(*(task for _, task in copying), return_exceptions=True)
        for live, _ in copying:
            live.held = None
            if not live.ending:
                live.put([Queued(0)])

    def _sharing(self, live: LiveRun) -> Sequence[LiveRun]:
        execution = self._by_run.get(live.id)
        return [live] if execution is None else [execution.head, *execution.others]

    def _hand_over(self, execution: _Execution) -> None:
        old, execution.head = execution.head, execution.others.pop(0)
        for one in (execution.head, *execution.others):
            if one.held is None and one.id in self._copying:
                one.held = []
        del self._by_run[old.id]
        self._take_over(old, execution.head)

    def _copy(self, live: LiveRun, log: RunLog, *, places: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._copy_into(live, log, places=places))
        self._copying[live.id] = live, task
        self._copied.setdefault(log.run, set()).add(task)
        task.add_done_callback(lambda done: self._copy_done(log.run, done))

    def _copy_done(self, source: str, task: asyncio.Task[None]) -> None:
        tasks = self._copied[source]
        tasks.discard(task)
        if not tasks:
            del self._copied[source]

    def _stop_copying(self, live: LiveRun) -> bool:
        live.held = None
        _, task = self._copying.pop(live.id, (live, None))
        if task is not None:
            task.cancel()
        return task is not None

    async def _copy_into(self, live: LiveRun, log: RunLog, *, places: bool) -> None:
        try:
            async with aclosing(Watcher(log, self._source, every_preview=True).items()) as items:
                async for item in items:
                    assert isinstance(item, LoggedEvent), "nothing is left out for one who asks for everything"
                    if is_terminal(item.event) and live.held is not None:
                        break  # the head's own end; what came after it is held
                    live.appender.put(_for_another(item, places=places))
                    if item.sequence % _AT_ONCE == 0:
                        await live.appender.settled()
        except RequestError as refusal:
            live.appender.put([Failed(_broken(refusal))])
        self._copying.pop(live.id, None)
        live.release()


def _for_another(entry: LoggedEvent, *, places: bool) -> Sequence[Event]:
    """What an entry of one log says to the run of another."""
    event = entry.event
    own = isinstance(event, Accepted | Paused) or (isinstance(event, Queued) and entry.sequence == _FIRST_PLACE)
    over = isinstance(event, Queued | Checkpointed) and not places
    return () if own or over else (event,)


def _broken(refusal: RequestError) -> Error:
    message = f"the log that this run was to repeat cannot be read ({refusal.error.message}); submit it again"
    return Error("UNAVAILABLE", message, "REPLAY_BROKEN")
