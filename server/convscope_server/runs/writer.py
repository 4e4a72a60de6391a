"""One thread that writes to the database: what waits while a transaction runs shares the next one."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection

from convscope_server.runs.session import Session

__all__ = ["Writer"]

T = TypeVar("T")

_MOST_IN_ONE = 256


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


_Outcome = tuple[_Job, Any, Exception | None]


class Writer:
    """Group commit: a lone job is committed at once, many at a time share one transaction.

    Args:
        session: Where to write.
        guard: Held during each transaction.
    """

    def __init__(self, session: Session, guard: AbstractContextManager[Any]) -> None:
        self._session = session
        self._guard = guard
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="run-store-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is committed. `work` may be called twice and changes nothing in memory."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, loop, future))
        return await future

    def close(self) -> None:
        """Finish what was asked for and stop."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        closing = False
        while not closing:
            jobs = [self._next()]
            with suppress(queue.Empty):
                while len(jobs) < _MOST_IN_ONE:
                    jobs.append(self._jobs.get_nowait())
            closing = None in jobs
            self._settle(self._commit([job for job in jobs if job is not None]))

    def _next(self) -> _Job | None:
        while True:
            try:
                return self._jobs.get(timeout=self._session.idle_seconds)
            except queue.Empty:
                self._session.check()

    def _commit(self, jobs: list[_Job]) -> list[_Outcome]:
        try:
            with self._guard, self._session.begin() as connection:
                outcomes: list[_Outcome] = [(job, job.work(connection), None) for job in jobs]
        except Exception as error:  # noqa: BLE001 - the database's or a job's; it reaches whoever awaits the job
            if len(jobs) == 1:
                return [(jobs[0], None, error)]
            # Rolled back together: each for itself, so that one failure is nobody else's.
            return [outcome for job in jobs for outcome in self._commit([job])]
        return outcomes

    def _settle(self, outcomes: list[_Outcome]) -> None:
        loops = {id(job.loop): job.loop for job, _, _ in outcomes}
        for loop in loops.values():
            own = [outcome for outcome in outcomes if outcome[0].loop is loop]
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, own)


def _resolve(outcomes: list[_Outcome]) -> None:
    for job, value, error in outcomes:
        if job.future.done():
            continue
        if error is None:
            job.future.set_result(value)
        else:
            job.future.set_exception(error)
