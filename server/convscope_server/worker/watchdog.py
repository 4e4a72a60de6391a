"""Ends a turn that takes too long or too much memory, from a thread of its own."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from convscope_server.engine.messages import Overgrown, Report, Stalled
from convscope_server.worker.memory import Memory

__all__ = ["StepEndedError", "Watchdog"]

_INTERVAL = 0.05
_GRACE = 2.0
_NO_LIMIT = 1 << 62


class StepEndedError(BaseException):
    """Raised inside a technique's step that broke a limit, wherever it is."""


@dataclass(slots=True, eq=False)
class _Turn:
    run: str
    seconds: float
    allowed: int
    limit: int
    began: float
    held: int
    verdict: Stalled | Overgrown | None = None
    judged_at: float = 0.0
    interruptible: bool = False
    interrupted: bool = False
    reported: bool = False


class Watchdog:
    """Watches one turn at a time.

    A step that breaks a limit is interrupted: Python raises `StepEndedError` in it at its next instruction. One that
    does not end by that, since it is in the middle of one long instruction or catches everything, is reported, and
    whoever owns the process ends it.

    Args:
        send: Where reports go.
        memory: What the process holds.
        limit: Bytes that one run may take.
    """

    def __init__(self, send: Callable[[Report], None], memory: Memory, limit: int) -> None:
        self._send = send
        self._memory = memory
        self._limit = limit
        self._turn: _Turn | None = None
        self._worker = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="convscope-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look at the calling thread."""
        self._worker = threading.get_ident()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    @contextmanager
    def watching(self, run: str, seconds: float, held: int | None) -> Iterator[None]:
        """Within it is a turn of `run`, which may take `seconds` and holds `held` bytes from earlier ones.

        `held` is None where the turn may take whatever it needs.
        """
        allowed = _NO_LIMIT if held is None else self._limit - held
        self._turn = _Turn(run, seconds, allowed, self._limit, time.monotonic(), self._memory.held())
        try:
            yield
        finally:
            self._turn = None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within it the turn is in the technique's own code.

        Raises:
            StepEndedError: from anywhere inside.
        """
        turn = self._turn
        if turn is None:
            yield
            return
        turn.interruptible = True
        try:
            yield
        finally:
            with self._lock:
                turn.interruptible = False
                turn.judged_at = time.monotonic()  # tidying up after it has time of its own
                if turn.interrupted:
                    _raise_in(self._worker, None)  # where it has not been noticed yet

    @contextmanager
    def not_counting(self) -> Iterator[None]:
        """Within it the turn is neither timed nor measured: it waits for the server, not for its technique."""
        with self._lock:
            turn, self._turn = self._turn, None
        began, held = time.monotonic(), self._memory.held()
        try:
            yield
        finally:
            if turn is not None:
                turn.began += time.monotonic() - began
                turn.held += self._memory.held() - held
                self._turn = turn

    @property
    def verdict(self) -> Stalled | Overgrown | None:
        """Which limit the present turn has broken, at the latest now."""
        return None if self._turn is None else self._judge(self._turn)

    @property
    def grown(self) -> int:
        """Bytes by which the process has grown in the present turn."""
        return 0 if self._turn is None else self._memory.held() - self._turn.held

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL):
            turn = self._turn
            if turn is None or turn.reported:
                continue
            verdict = self._judge(turn)
            if verdict is None:
                continue
            self._interrupt(turn)
            if time.monotonic() - turn.judged_at > _GRACE:
                turn.reported = True
                self._send(verdict)

    def _judge(self, turn: _Turn) -> Stalled | Overgrown | None:
        if turn.verdict is None:
            took, grown = time.monotonic() - turn.began, self._memory.held() - turn.held
            if took > turn.seconds:
                turn.verdict = Stalled(turn.run, took)
            elif grown > turn.allowed:
                turn.verdict = Overgrown(turn.run, turn.limit - turn.allowed + grown, turn.limit)
            turn.judged_at = time.monotonic()
        return turn.verdict

    def _interrupt(self, turn: _Turn) -> None:
        """Raise in the step, once, where it is in the technique's code."""
        with self._lock:
            if turn is self._turn and turn.interruptible and not turn.interrupted:
                turn.interrupted = True
                _raise_in(self._worker, StepEndedError)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Have a thread raise at its next instruction; None takes it back."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )
