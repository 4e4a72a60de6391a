"""One run, watched from here."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from convscope import _methods, _wire, _wire_catalog
from convscope._content import fetch
from convscope._reconnect import Backoff, Cursor
from convscope._record import Record
from convscope._transport import Stream, Transport
from convscope.catalog import RunInfo
from convscope.errors import ConvscopeError, DeadlineExceeded, Unavailable
from convscope.events import RunEvent, RunState
from convscope.result import Result

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Run"]

T = TypeVar("T")


class Run:
    """A run on the server. Iterate it for its events, or ask for its `result`; both survive a broken connection.

    Each event comes once, in order. Iterating stops after the last one and never raises for a run that failed;
    `result` does. Where iterating stopped early, iterating again or `result` goes on from there.
    """

    def __init__(
        self,
        transport: Transport,
        cursor: Cursor,
        *,
        submission: _wire.VisualizeRequest | None = None,
        every_preview: bool = False,
    ) -> None:
        self._transport = transport
        self._cursor = cursor
        self._submission = submission
        self._every_preview = every_preview
        self._first_sequence = cursor.sequence
        self._record = Record()
        self._stream: Stream[_wire.RunEventMessage] | None = None
        self._ahead: deque[RunEvent] = deque()
        self._pending: concurrent.futures.Future[RunEvent | None] | None = None

    @property
    def id(self) -> str:
        """32 hexadecimal digits: what `Client.attach` wants."""
        return self._cursor.run_id

    @property
    def state(self) -> RunState:
        """Its state as of the last event seen; `refresh` asks the server."""
        return self._record.state

    @property
    def sequence(self) -> int:
        """The last place in its log that was seen: `attach(run.id, after_sequence=run.sequence)` goes on after it."""
        return self._cursor.sequence

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> RunEvent:
        event = self._next(None)
        if event is None:
            raise StopIteration
        return event

    def result(self, timeout: float | None = None, on_event: Callable[[RunEvent], object] | None = None) -> Result:
        """What the run made, once it is done.

        Args:
            timeout: Seconds to wait at most; the run goes on after that.
            on_event: Called with each event on the way.

        Raises:
            RunFailed: it ended with an error.
            RunCancelled: it was stopped.
            DeadlineExceeded: it is not done yet; ask again, or `cancel`.
            ConnectionLost: the server did not come back; the message says how to attach.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (event := self._next(deadline)) is not None:
            if on_event is not None:
                on_event(event)
        if self._record.error is not None:
            raise self._record.error
        if self._first_sequence:  # Attached in the middle: the log from its beginning has the rest.
            return self._again().result(None if deadline is None else max(0.0, deadline - time.monotonic()))
        assert self._record.report is not None
        artifacts, frames = list(self._record.artifacts.values()), self._record.frames.kept
        return Result(self.id, self._record.report, artifacts, frames, self._fetch)

    def cancel(self) -> None:
        """Ask the run to end at its next step. An ended run stays as it is."""
        self._transport.unary(_methods.CANCEL_RUN, _methods.CANCEL_RUN.request(run=self.id))

    def pause(self) -> None:
        """Take the run off its device at its next step, or out of the queue: its place goes to others until `resume`.

        Iterating it waits meanwhile. A paused run stays as it is, and so does an ended one.

        Raises:
            FailedPrecondition: its technique keeps no checkpoints (`TechniqueInfo.resumable`), or an identical run
                waits for it.
        """
        self._transport.unary(_methods.PAUSE_RUN, _methods.PAUSE_RUN.request(run=self.id))

    def resume(self) -> None:
        """Let the run wait for a device again; there it goes on to the same bits as if it had never been paused."""
        self._transport.unary(_methods.RESUME_RUN, _methods.RESUME_RUN.request(run=self.id))

    def update(self, **params: Any) -> None:
        """Change parameters of the run at its next step; returns once the change holds.

        Of a run that waits or is paused, it holds where the run goes on. `RunInfo.updates` has all changes so far.

        Args:
            **params: New values of some of those in `TechniqueInfo.steers`.

        Raises:
            InvalidArgument: a parameter that cannot change on the way, or not to this; the run goes on as before.
            FailedPrecondition: the run has ended, cannot be taken up, or an identical run waits for it.
        """
        self._transport.unary(_methods.UPDATE_RUN, _wire.update_request(self.id, params))

    def refresh(self) -> RunInfo:
        """The run as the server has it now."""
        response = self._transport.unary(_methods.GET_RUN, _methods.GET_RUN.request(run=self.id))
        info = _wire_catalog.run(response.run)
        self._record.state, self._cursor.began = info.state, True
        return info

    def close(self) -> None:
        """Stop watching. Unless it is detached, the run is cancelled if nobody watches it again soon."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def show(self) -> Result:
        """Watch it in a notebook, in a cell output that updates in place, to its result.

        Raises:
            FailedPrecondition: this is no notebook.
            RunFailed: as `result` does.
        """
        from convscope.display import Display

        return self.result(on_event=Display(self.id).update)

    def _ipython_display_(self) -> None:
        from convscope.display import Display

        display = Display(self.id)
        for event in self:
            display.update(event)

    def __repr__(self) -> str:
        return f"<Run {self.id or 'not yet accepted'}: {self.state}, {self.sequence} events seen>"

    def _begin(self) -> Self:
        """Watch from the start; returns when the run is accepted, raises where it is refused."""
        event = self._advance()
        if event is not None:
            self._ahead.append(event)
        return self

    def _submit(self, request: _wire.VisualizeRequest) -> Self:
        """Have the run accepted without watching it."""
        while not self._cursor.run_id:
            try:
                response = self._transport.unary(_methods.SUBMIT_RUN, _wire.SubmitRunRequest(request=request))
                self._cursor.submitted(response.run.id)
            except ConvscopeError as error:
                time.sleep(self._cursor.lost(error, time.monotonic()))
        return self

    def _next(self, deadline: float | None) -> RunEvent | None:
        if self._ahead:
            return self._ahead.popleft()
        if deadline is None and self._pending is None:
            return self._advance()
        # With a deadline, reading happens in a thread, and what comes too late waits there for the next call:
        # giving up a read would close the stream, and nobody would be watching any more.
        if self._pending is None:
            self._pending = _in_thread(self._advance)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not concurrent.futures.wait([self._pending], left).done:
            raise DeadlineExceeded(
                f"run {self.id} is not done yet and goes on: ask for its result again, or cancel() it", run_id=self.id
            )
        pending, self._pending = self._pending, None
        return pending.result()

    def _advance(self) -> RunEvent | None:
        """The next new event, over as many streams as it takes; None after the last."""
        while not self._cursor.finished:
            try:
                if (event := self._read()) is not None:
                    return event
            except ConvscopeError as error:
                self.close()
                time.sleep(self._cursor.lost(error, time.monotonic()))
        self.close()
        return None

    def _read(self) -> RunEvent | None:
        if self._stream is None:
            self._stream = self._open()
        message = next(self._stream, None)
        if message is None:
            raise Unavailable("the stream ended before the run did")
        event = _wire.event(message)
        if not self._cursor.take(event):
            return None
        self._record.add(event)
        return event

    def _open(self) -> Stream[_wire.RunEventMessage]:
        if not self._cursor.run_id and self._submission is not None:
            return self._transport.stream(_methods.VISUALIZE, self._submission)
        request = _wire.WatchRunRequest(
            run=self.id, after_sequence=self._cursor.sequence, every_preview=self._every_preview
        )
        return self._transport.stream(_methods.WATCH_RUN, request)

    def _again(self) -> Run:
        backoff = Backoff(self._cursor.backoff.give_up_after)
        cursor = Cursor(self.id, began=True, backoff=backoff)
        return Run(self._transport, cursor, every_preview=self._every_preview)

    def _fetch(self, digest: str) -> bytes:
        return fetch(self._transport, digest, Backoff(self._cursor.backoff.give_up_after))


def _in_thread(function: Callable[[], T]) -> concurrent.futures.Future[T]:
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - whoever it is that failed: it is raised in the caller's thread
            future.set_exception(error)

    # A daemon, because a read may outlive the program's interest in it.
    threading.Thread(target=call, name="convscope-watch", daemon=True).start()
    return future
