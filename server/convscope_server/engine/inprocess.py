"""The engine of `convscope.embedded()`: the same worker, in a thread of the caller's process."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convscope_server.engine.engine import EngineListener
from convscope_server.engine.messages import Command, Hello, Overgrown, Pong, Report, Shutdown, Stalled, Unfit
from convscope_server.engine.options import WorkerOptions
from convscope_server.engine.pool import WorkerPool

if TYPE_CHECKING:
    from convscope_sdk.technique import Technique
    from convscope_server.worker.worker import Worker

__all__ = ["InProcessEngine"]

logger = logging.getLogger(__name__)


class InProcessEngine(WorkerPool):
    """One worker in this process. A crash in it is the caller's crash; a stalled step cannot be stopped."""

    def __init__(self, options: WorkerOptions, *, techniques: Sequence[Technique[Any]] = ()) -> None:
        super().__init__(options.max_live_runs)
        self._options = options
        self._techniques = techniques
        self._thread: threading.Thread | None = None
        self._worker: Worker | None = None

    async def start(self, listener: EngineListener) -> None:
        """Start the worker's thread; returns when it is ready."""
        self._listener = listener
        loop = asyncio.get_running_loop()
        (seat,) = self._take_seats(self._options.devices[:1] or ("",))
        ready: asyncio.Future[Hello] = loop.create_future()

        def receive(report: Report) -> None:
            if isinstance(report, Stalled | Overgrown | Unfit):
                logger.error("%s: it cannot be stopped here, where no other process is", report)
            elif not isinstance(report, Pong):
                self.handle(seat, report)

        def send(report: Report) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(receive, report)

        self._thread = threading.Thread(
            target=self._work, args=(seat.device, send, loop, ready), name="convscope-worker", daemon=True
        )
        self._thread.start()
        hello = await ready
        assert self._worker is not None
        self.seat_worker(seat, _ThreadLink(self._worker), hello)

    async def close(self) -> None:
        """Stop the worker after its present step."""
        if self._worker is not None and self._thread is not None:
            self._worker.post(Shutdown())
            await asyncio.to_thread(self._thread.join)

    def _work(self, device: str, send: Any, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[Hello]) -> None:
        try:
            from convscope_server.worker.worker import Worker
            from convscope_server.worker.workshop import Workshop

            shop = Workshop(self._options, device, techniques=self._techniques)
            self._worker = Worker(shop, send, shared=True)
            hello = self._worker.hello()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller who waits for `start` must see it
            loop.call_soon_threadsafe(ready.set_exception, error)
            return
        loop.call_soon_threadsafe(ready.set_result, hello)
        self._worker.run()


class _ThreadLink:
    """The way to a worker in a thread."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def post(self, command: Command) -> None:
        self._worker.post(command)
