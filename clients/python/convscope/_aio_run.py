"""One run, watched from an event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from convscope import _methods, _wire, _wire_catalog
from convscope._aio_content import fetch
from convscope._reconnect import Backoff, Cursor
from convscope._record import Record
from convscope._transport import AsyncStream, AsyncTransport
from convscope.catalog import RunInfo
from convscope.errors import ConvscopeError, DeadlineExceeded, Unavailable
from convscope.events import RunEvent, RunState
from convscope.result import Result

__all__ = ["AsyncRun"]


class AsyncRun:
    """A run on the server: `convscope.Run` for `async for` and `await`."""

    def __init__(
        self,
        transport: AsyncTransport,
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
        self._stream: AsyncStream[_wire.RunEventMessage] | None = None
        self._ahead: deque[RunEvent] = deque()
        self._pending: asyncio.Task[RunEvent | None] | None = None

    @property
    def id(self) -> str:
        """32 hexadecimal digits: what `AsyncClient.attach` wants."""
        return self._cursor.run_id

    @property
    def state(self) -> RunState:
        """Its state as of the last event seen; `refresh` asks the server."""
        return self._record.state

    @property
    def sequence(self) -> int:
        """The last place in its log that was seen: `attach(run.id, after_sequence=run.sequence)` goes on after it."""
        return self._cursor.sequence

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunEvent:
        event = await self._next(None)
        if event is None:
            raise StopAsyncIteration
        return event

    async def result(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - a cancelled read would close the stream; see _next
        on_event: Callable[[RunEvent], object] | None = None,
    ) -> Result:
        """What the run made, once it is done; everything is fetched, so that reading it needs no await.

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
        while (event := await self._next(deadline)) is not None:
            if on_event is not None:
                on_event(event)
        if self._record.error is not None:
            raise self._record.error
        if self._first_sequence:  # Attached in the middle: the log from its beginning has the rest.
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            return await self._again().result(left)
        assert self._record.report is not None
        artifacts, frames = list(self._record.artifacts.values()), self._record.frames.kept
        large = {artifact.digest for artifact in artifacts if artifact.content is None}
        fetched = {digest: await self._fetch(digest) for digest in large}
        return Result(self.id, self._record.report, artifacts, frames, fetched.__getitem__)

    async def cancel(self) -> None:
        """Ask the run to end at its next step. An ended run stays as it is."""
        await self._transport.unary(_methods.CANCEL_RUN, _methods.CANCEL_RUN.request(run=self.id))

    async def pause(self) -> None:
        """Take the run off its device at its next step, or out of the queue: its place goes to others until `resume`.

        Iterating it waits meanwhile. A paused run stays as it is, and so does an ended one.

        Raises:
            FailedPrecondition: its technique keeps no checkpoints (`TechniqueInfo.resumable`), or an identical run
                waits for it.
        """
        await self._transport.unary(_methods.PAUSE_RUN, _methods.PAUSE_RUN.request(run=self.id))

    async def resume(self) -> None:
        """Let the run wait for a device again; there it goes on to the same bits as if it had never been paused."""
        await self._transport.unary(_methods.RESUME_RUN, _methods.RESUME_RUN.request(run=self.id))

    async def update(self, **params: Any) -> None:
        """Change parameters of the run at its next step; returns once the change holds.

        Of a run that waits or is paused, it holds where the run goes on. `RunInfo.updates` has all changes so far.

        Args:
            **params: New values of some of those in `TechniqueInfo.steers`.

        Raises:
            InvalidArgument: a parameter that cannot change on the way, or not to this; the run goes on as before.
            FailedPrecondition: the run has ended, cannot be taken up, or an identical run waits for it.
        """
        await self._transport.unary(_methods.UPDATE_RUN, _wire.update_request(self.id, params))

    async def refresh(self) -> RunInfo:
        """The run as the server has it now."""
        request = _methods.GET_RUN.request(run=self.id)
        info = _wire_catalog.run((await self._transport.unary(_methods.GET_RUN, request)).run)
        self._record.state, self._cursor.began = info.state, True
        return info

    async def close(self) -> None:
        """Stop watching. Unless it is detached, the run is cancelled if nobody watches it again soon."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        await self._close_stream()

    def __repr__(self) -> str:
        return f"<AsyncRun {self.id or 'not yet accepted'}: {self.state}, {self.sequence} events seen>"

    async def _begin(self) -> Self:
        """Watch from the start; returns when the run is accepted, raises where it is refused."""
        event = await self._advance()
        if event is not None:
            self._ahead.append(event)
        return self

    async def _submit(self, request: _wire.VisualizeRequest) -> Self:
        """Have the run accepted without watching it."""
        while not self._cursor.run_id:
            try:
                response = await self._transport.unary(_methods.SUBMIT_RUN, _wire.SubmitRunRequest(request=request))
                self._cursor.submitted(response.run.id)
            except ConvscopeError as error:
                await asyncio.sleep(self._cursor.lost(error, time.monotonic()))
        return self

    async def _next(self, deadline: float | None) -> RunEvent | None:
        if self._ahead:
            return self._ahead.popleft()
        if deadline is None and self._pending is None:
            return await self._advance()
        # With a deadline, reading happens in a task, and what comes too late waits there for the next call:
        # giving up a read would close the stream, and nobody would be watching any more.
        if self._pending is None:
            self._pending = asyncio.ensure_future(self._advance())
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        done, _ = await asyncio.wait([self._pending], timeout=left)
        if not done:
            raise DeadlineExceeded(
                f"run {self.id} is not done yet and goes on: ask for its result again, or cancel() it", run_id=self.id
            )
        pending, self._pending = self._pending, None
        return pending.result()

    async def _advance(self) -> RunEvent | None:
        """The next new event, over as many streams as it takes; None after the last."""
        while not self._cursor.finished:
            try:
                if (event := await self._read()) is not None:
                    return event
            except ConvscopeError as error:
                await self._close_stream()
                await asyncio.sleep(self._cursor.lost(error, time.monotonic()))
        await self._close_stream()
        return None

    async def _read(self) -> RunEvent | None:
        if self._stream is None:
            self._stream = self._open()
        message = await anext(self._stream, None)
        if message is None:
            raise Unavailable("the stream ended before the run did")
        event = _wire.event(message)
        if not self._cursor.take(event):
            return None
        self._record.add(event)
        return event

    def _open(self) -> AsyncStream[_wire.RunEventMessage]:
        if not self._cursor.run_id and self._submission is not None:
            return self._transport.stream(_methods.VISUALIZE, self._submission)
        request = _wire.WatchRunRequest(
            run=self.id, after_sequence=self._cursor.sequence, every_preview=self._every_preview
        )
        return self._transport.stream(_methods.WATCH_RUN, request)

    async def _close_stream(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None

    def _again(self) -> AsyncRun:
        cursor = Cursor(self.id, began=True, backoff=Backoff(self._cursor.backoff.give_up_after))
        return AsyncRun(self._transport, cursor, every_preview=self._every_preview)

    async def _fetch(self, digest: str) -> bytes:
        return await fetch(self._transport, digest, Backoff(self._cursor.backoff.give_up_after))
