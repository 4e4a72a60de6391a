"""A run whose log grows as it is read."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator

from convscope import _wire
from convscope._methods import run, visualization
from convscope.testing.events import Event, cancelled, succeeded

__all__ = ["FakeRun"]

_ENDS = {
    "succeeded": run.RUN_STATE_SUCCEEDED,
    "failed": run.RUN_STATE_FAILED,
    "cancelled": run.RUN_STATE_CANCELLED,
}


class FakeRun:
    """Events of a script, stored as they are asked for; once `cancel` is set, the next one is the end."""

    def __init__(self, request: _wire.VisualizeRequest, script: Iterable[Event]) -> None:
        self.id = uuid.uuid4().hex
        self.request = request
        self.cancel = False
        self.log: list[Event] = []
        self._script = iter(script)
        self._lock = threading.Lock()
        self._append(Event(accepted=run.Accepted(request_id=request.request_id)))
        self._append(Event(started=run.Started(device="cpu", attempt=1)))

    @property
    def state(self) -> run.RunState.ValueType:
        """Where it is in its life."""
        return _ENDS.get(self.log[-1].WhichOneof("event") or "", run.RUN_STATE_RUNNING)

    @property
    def alive(self) -> bool:
        """Whether its last event has not come."""
        return self.state == run.RUN_STATE_RUNNING

    def event(self, sequence: int) -> Event | None:
        """The event at that place; None after the last."""
        with self._lock:
            while len(self.log) < sequence and self.alive:
                self._append(cancelled() if self.cancel else next(self._script, succeeded()))
        return self.log[sequence - 1] if sequence <= len(self.log) else None

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

    def _append(self, event: Event) -> None:
        entry = Event()
        entry.CopyFrom(event)
        entry.run, entry.sequence = self.id, len(self.log) + 1
        entry.time.GetCurrentTime()
        self.log.append(entry)

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
            create_time=self.log[0].time,
            start_time=self.log[0].time,
            end_time=None if self.alive else last.time,
            last_sequence=len(self.log),
            error=last.failed.error if last.HasField("failed") else None,
        )
