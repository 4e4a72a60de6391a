"""A run whose log grows as it is read."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator

from convscope import _wire
from convscope._methods import run, visualization
from convscope.errors import FailedPrecondition
from convscope.testing.events import Event, cancelled, paused, queued, started, succeeded

__all__ = ["FakeRun"]

_STATES = {
    "queued": run.RUN_STATE_QUEUED,
    "started": run.RUN_STATE_RUNNING,
    "paused": run.RUN_STATE_PAUSED,
    "succeeded": run.RUN_STATE_SUCCEEDED,
    "failed": run.RUN_STATE_FAILED,
    "cancelled": run.RUN_STATE_CANCELLED,
}
_ENDS = {run.RUN_STATE_SUCCEEDED, run.RUN_STATE_FAILED, run.RUN_STATE_CANCELLED}
_PATIENCE = 10.0


class FakeRun:
    """Events of a script, stored as they are asked for; after `cancel`, the next one is the end.

    Who asks for the next one of a paused run waits, ten seconds at most.
    """

    def __init__(self, request: _wire.VisualizeRequest, script: Iterable[Event]) -> None:
        self.id = uuid.uuid4().hex
        self.request = request
        self.log: list[Event] = []
        self.state: run.RunState.ValueType = run.RUN_STATE_QUEUED
        self._updates = list(request.updates)
        self._due: list[Event] = []
        self._script = iter(script)
        self._cancelled = self._held = False
        self._step = 0
        self._changed = threading.Condition()
        self._append(Event(accepted=run.Accepted(request_id=request.request_id)))
        self._append(started())

    @property
    def alive(self) -> bool:
        """Whether its last event has not come."""
        return self.state not in _ENDS

    def event(self, sequence: int) -> Event | None:
        """The event at that place; None after the last."""
        with self._changed:
            while len(self.log) < sequence and self.alive:
                if not self._changed.wait_for(lambda: self._cancelled or not self._held, _PATIENCE):
                    raise FailedPrecondition(f"run {self.id} is paused, and nobody resumes it", reason="RUN_PAUSED")
                self._append(cancelled() if self._cancelled else next(self._script, succeeded()))
        return self.log[sequence - 1] if sequence <= len(self.log) else None

    def cancel(self) -> None:
        """End it with the next event."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def pause(self) -> None:
        """Take it off its device, unless it has ended."""
        with self._changed:
            if self.alive and not self._held:
                self._held = True
                self._append(paused())

    def resume(self) -> None:
        """Let it go on from the last step, if it is paused."""
        with self._changed:
            if self._held:
                self._held = False
                self._append(queued())
                self._append(started(self._step))
                self._tell_due()
                self._changed.notify_all()

    def update(self, request: visualization.UpdateRunRequest) -> None:
        """Change parameters behind the last step; of a paused run, that is told where it goes on."""
        with self._changed:
            change = run.Update(step=self._step, params=request.params)
            self._updates.append(change)
            self._due.append(Event(updated=change))
            if not self._held:
                self._tell_due()

    def follow(self, after_sequence: int) -> Iterator[Event]:
        """Its events after that place, to the last."""
        while (event := self.event(after_sequence := after_sequence + 1)) is not None:
            yield event

    def fits(self, where: visualization.ListRunsRequest) -> bool:
        """Whether every filter of the request lets it through."""
        request = self.request
        return (
            where.state in {run.RUN_STATE_UNSPECIFIED, self.state}
            and where.technique in {"", request.technique}
            and where.model in {"", request.model}
            and all(request.labels.get(key) == value for key, value in where.labels.items())
        )

    def _tell_due(self) -> None:
        while self._due:
            self._append(self._due.pop(0))

    def _append(self, event: Event) -> None:
        entry = Event()
        entry.CopyFrom(event)
        entry.run, entry.sequence = self.id, len(self.log) + 1
        entry.time.GetCurrentTime()
        self.log.append(entry)
        self.state = _STATES.get(entry.WhichOneof("event") or "", self.state)
        if entry.HasField("progress"):
            self._step = entry.progress.step

    def as_message(self) -> run.Run:
        """The run as it is now."""
        last, request = self.log[-1], self.request
        return run.Run(
            id=self.id,
            state=self.state,
            model=request.model,
            technique=request.technique,
            params=request.params,
            seed=request.seed,
            request_id=request.request_id,
            labels=request.labels,
            priority=request.priority,
            create_time=self.log[0].time,
            start_time=self.log[0].time,
            end_time=None if self.alive else last.time,
            last_sequence=len(self.log),
            error=last.failed.error if last.HasField("failed") else None,
            updates=self._updates,
        )
