"""A file that is read again when it changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

__all__ = ["WatchedFile"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


class WatchedFile(Generic[T]):
    """What a file says now. A change that cannot be read is logged once, and what it said before stays in force.

    Args:
        path: The file.
        read: Makes something of its bytes; raises `ValueError` where it cannot.

    Raises:
        OSError, ValueError: the file cannot be read the first time.
    """

    def __init__(self, path: Path, read: Callable[[bytes], T]) -> None:
        self._path = path
        self._read = read
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._value = read(path.read_bytes())

    @property
    def value(self) -> T:
        """What the file says; one `stat` where it has not changed."""
        with self._lock:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                try:
                    self._value = self._read(self._path.read_bytes())
                except (OSError, ValueError) as error:
                    _log.error("%s cannot be read; what it said before stays in force: %s", self._path, error)
            return self._value

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
