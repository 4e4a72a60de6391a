"""Threads and open files that a run leaves behind."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Litter"]

# Libraries keep a file or two open for good reasons: a cache, a log, a device.
_FILES_ALLOWED = 16
_PATIENCE = 0.2
# tqdm has one watching thread for the whole process, and starts it when it first feels like it.
_OF_LIBRARIES = ("TMonitor",)


class Litter:
    """What came in the turns of one run and is still there at its end. Neither can be taken away: only told."""

    def __init__(self) -> None:
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._files = 0
        self._seen: tuple[set[threading.Thread], int] | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it is a turn of the run."""
        self._seen = set(threading.enumerate()), _open_files()
        try:
            yield
        finally:
            self._look()
            self._seen = None

    def _look(self) -> None:
        if self._seen is None:
            return
        (threads, files), self._seen = self._seen, (set(threading.enumerate()), _open_files())
        self._threads.update(t for t in self._seen[0] - threads if type(t).__name__ not in _OF_LIBRARIES)
        self._files += self._seen[1] - files

    def left(self) -> list[str]:
        """Names of what is still there; threads that are about to end get a moment."""
        self._look()
        for thread in list(self._threads):
            thread.join(_PATIENCE)
        alive = sorted(thread.name for thread in self._threads if thread.is_alive())
        found = [f"running threads ({', '.join(alive[:3])})"] if alive else []
        return [*found, f"{self._files} open files"] if self._files > _FILES_ALLOWED else found


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a path object for each would take longer than the rest
    except OSError:  # no Linux
        return 0
