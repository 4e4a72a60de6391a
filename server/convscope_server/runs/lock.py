"""One server to a data directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from convscope_server.room import needs_room

__all__ = ["DataDirectoryLockedError", "lock_data_dir", "lock_file"]


class DataDirectoryLockedError(RuntimeError):
    """Another server uses the data directory."""


@contextmanager
def lock_data_dir(path: str | Path) -> Iterator[Path]:
    """The data directory, made if need be, and this process's alone until the block or the process ends.

    The operating system holds the lock, so a killed server leaves none behind.

    Raises:
        DataDirectoryLockedError: another process has it.
        RequestError: RESOURCE_EXHAUSTED, STORAGE_FULL.
    """
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "server.lock").open("a+") as file:
        try:
            lock_file(file)
        except OSError:
            file.seek(0)
            raise DataDirectoryLockedError(
                f"{directory} is in use by another convscope server (process {file.read().strip() or 'unknown'}); "
                "stop that one, or give this one another directory with --data"
            ) from None
        with needs_room():
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())  # not buffered: closing must not write it again
        yield directory


if sys.platform == "win32":
    import msvcrt

    def lock_file(file: IO[str]) -> None:
        """Have the file alone until it is closed or the process ends; OSError where another has it."""
        file.seek(1 << 20)  # a byte beyond the text, which stays readable for others
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def lock_file(file: IO[str]) -> None:
        """Have the file alone until it is closed or the process ends; OSError where another has it."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
