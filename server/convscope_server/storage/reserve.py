"""A little room on the disk that is kept for the day on which there is none: removing takes writing first."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["Reserve"]

_BYTES = 2**20


class Reserve:
    """A file that takes room until that is needed.

    Args:
        folder: Where it lies; None where nothing is on a disk.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "reserve"

    def keep(self) -> None:
        """Take the room, if it is there to be had. Blocks."""
        if self._path is None or self._path.exists():
            return
        try:
            with self._path.open("wb") as file:
                file.write(bytes(_BYTES))
                os.fsync(file.fileno())
        except OSError:  # as long as the disk is full
            self.give_up()

    def give_up(self) -> bool:
        """Let others have it; False where it was given up before. Blocks."""
        with suppress(OSError):
            if self._path is not None:
                self._path.unlink()
                return True
        return False
