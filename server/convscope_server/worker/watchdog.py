"""Notices a step that takes too long, from a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from convscope_server.engine.messages import Report, Stalled

__all__ = ["Watchdog"]

_INTERVAL = 0.2


class Watchdog:
    """Reports a step that outlasts its limit, once. Python cannot stop a step; whoever owns the process can."""

    def __init__(self, send: Callable[[Report], None]) -> None:
        self._send = send
        self._watched: tuple[str, float, float] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="convscope-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    @contextmanager
    def watching(self, run: str, limit: float) -> Iterator[None]:
        """Within it, a step of `run` is under way that may take `limit` seconds."""
        self._watched = (run, time.monotonic(), limit)
        try:
            yield
        finally:
            self._watched = None

    @contextmanager
    def not_counting(self) -> Iterator[None]:
        """Within it the step that is under way is not timed: it waits for the server, not for its technique."""
        watched, self._watched = self._watched, None
        began = time.monotonic()
        try:
            yield
        finally:
            if watched is not None:
                run, since, limit = watched
                self._watched = (run, since + time.monotonic() - began, limit)

    def _watch(self) -> None:
        reported: tuple[str, float, float] | None = None
        while not self._stop.wait(_INTERVAL):
            watched = self._watched
            if watched is None or watched is reported:
                continue
            run, began, limit = watched
            took = time.monotonic() - began
            if took > limit:
                reported = watched
                self._send(Stalled(run, took))
