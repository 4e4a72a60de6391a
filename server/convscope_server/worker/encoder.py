"""Where pictures are drawn and encoded: beside a GPU in a thread of their own, on a CPU in turn with the steps."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Inline", "encoder_for", "thread_of_its_own"]

P = ParamSpec("P")
T = TypeVar("T")


def encoder_for(device: str) -> Executor:
    """What encodes for a worker of that device, one thing after the other.

    Where the CPU is the device, a second thread would take it away from the first: torch's threads wait for their
    slowest at every operation, so that both lose more time than the drawing takes.
    """
    return Inline() if device.startswith("cpu") else thread_of_its_own("convscope-encoder")


def thread_of_its_own(name: str) -> Executor:
    """What works in one thread, which runs already: one that came within a run's turn would be that run's litter."""
    executor = ThreadPoolExecutor(1, name)
    executor.submit(int).result()
    return executor


class Inline(Executor):
    """Does what it is given at once, in the caller's thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future, which has its result."""
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future
