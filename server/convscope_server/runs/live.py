"""A run that has not ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from convscope_server.runs.appender import Appender
from convscope_server.runs.events import CancelReason, Checkpointed, Event, Succeeded, is_terminal
from convscope_server.runs.ledger import Account
from convscope_server.runs.log import RunLog
from convscope_server.runs.run import RunRequest

__all__ = ["THRIFT", "LiveRun"]

THRIFT = 4
"""How many times smaller inner batches are where the device has run out of memory."""

_MOST_LOST_EARLY = 3
_MOST_BYSTANDER = 3


@dataclass(slots=True, eq=False)
class LiveRun:
    """What the service knows of a live run beyond what is stored.

    Attributes:
        attempt: Number of the start that is coming or under way, from 1.
        account: What its principal has.
        attained: Device seconds of the attempt under way.
        device_seconds: Of all attempts.
        in_front: Whether it goes before its principal's others: it has lost a turn.
        waits_since: Unix time from which on it waits for its turn, or has waited for that.
        cancelling: Why it is being cancelled, once it is.
        pausing: Whether it is to leave its device until it is resumed.
        giving_way: Whether it is to leave its device to a more urgent run.
        checkpoint: The newest that was kept of it.
        bystander: How often another run took its worker down.
        lost_early: How often its worker was lost before it had begun.
        lost_at: Its newest checkpoint when it last lost a worker.
        kept_losses: How often it lost one and went on from a checkpoint.
        thrift: How many times smaller its inner batches are to be.
        short_since: When it first found no memory beside other runs, on the monotonic clock; None while it has not.
        watchers: Who reads its log now.
        held: Events that wait until it has copied what comes before them, or None.
        succeeded: Whether its end is a good one.
    """

    id: str
    request: RunRequest
    create_time: float
    log: RunLog
    appender: Appender
    account: Account = field(default_factory=Account)
    attempt: int = 1
    attained: float = 0.0
    device_seconds: float = 0.0
    _on_engine: bool = False
    in_front: bool = False
    waits_since: float = 0.0
    cancelling: CancelReason | None = None
    pausing: bool = False
    _paused: bool = False
    giving_way: bool = False
    checkpoint: Checkpointed | None = None
    lost_at: Checkpointed | None = None
    bystander: int = 0
    lost_early: int = 0
    kept_losses: int = 0
    thrift: int = 1
    short_since: float | None = None
    watchers: int = 0
    held: list[Event] | None = None
    succeeded: bool = False
    deadline_timer: asyncio.TimerHandle | None = None
    disconnect_timer: asyncio.TimerHandle | None = None

    @property
    def on_engine(self) -> bool:
        """Whether the engine has it."""
        return self._on_engine

    @on_engine.setter
    def on_engine(self, there: bool) -> None:
        self.account.running += there - self._on_engine
        self._on_engine = there

    @property
    def paused(self) -> bool:
        """Whether it waits to be resumed."""
        return self._paused

    @paused.setter
    def paused(self, rests: bool) -> None:
        self.account.paused += rests - self._paused
        self._paused = rests

    @property
    def deadline(self) -> float | None:
        """Unix time after which it fails, or None."""
        seconds = self.request.deadline_seconds
        return None if seconds is None else self.create_time + seconds

    @property
    def ending(self) -> bool:
        """Whether its terminal event is stored or on its way into the store."""
        return self.appender.ending or any(map(is_terminal, self.held or ()))

    def put(self, events: Sequence[Event]) -> None:
        """Entries for its log, in order."""
        self.succeeded = self.succeeded or any(isinstance(event, Succeeded) for event in events)
        if self.held is None:
            self.appender.put(events)
        else:
            self.held += events

    def may_start_again(self, restarts: int, *, started: bool, bystander: bool = False) -> bool:
        """Whether a run that has lost its worker may have another attempt, which this counts.

        One that was kept since it lost a worker last always may.

        Args:
            restarts: How often it may, once it has begun.
            started: Whether it had begun.
            bystander: Whether another run took the worker down: then it may more often.
        """
        if not started:
            self.lost_early += 1
            return self.lost_early <= _MOST_LOST_EARLY  # one that kills every worker before it begins
        self.attempt += 1
        if self.checkpoint != self.lost_at:
            self.lost_at = self.checkpoint
            self.kept_losses += 1
            return True
        if bystander and self.bystander < _MOST_BYSTANDER:
            self.bystander += 1
        return self.attempt <= 1 + restarts + self.bystander + self.kept_losses + (self.thrift > 1)

    def be_thrifty(self) -> None:
        """Have another attempt, from the beginning, with smaller inner batches."""
        self.attempt += 1
        self.thrift = THRIFT
        self.checkpoint = None

    def go_on_from(self, other: LiveRun) -> None:
        """Be where the other one is on its way."""
        self.attempt, self.attained, self.on_engine = other.attempt, other.attained, other.on_engine
        self.lost_early, self.bystander, self.thrift = other.lost_early, other.bystander, other.thrift
        self.checkpoint, self.lost_at, self.kept_losses = other.checkpoint, other.lost_at, other.kept_losses

    def release(self) -> None:
        """Hold nothing back any more."""
        held, self.held = self.held, None
        if held:
            self.appender.put(held)

    def stop_timers(self) -> None:
        """Let nothing happen to it by itself any more."""
        self.stop_deadline_timer()
        self.stop_disconnect_timer()

    def stop_deadline_timer(self) -> None:
        """It does not wait in the queue any more."""
        if self.deadline_timer is not None:
            self.deadline_timer.cancel()
            self.deadline_timer = None

    def stop_disconnect_timer(self) -> None:
        """Somebody watches it, or nobody needs to."""
        if self.disconnect_timer is not None:
            self.disconnect_timer.cancel()
            self.disconnect_timer = None
