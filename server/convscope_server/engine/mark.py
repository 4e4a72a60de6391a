"""Whose turn it is on a worker, in memory that outlives the worker."""

from __future__ import annotations

import mmap
import os
import tempfile

__all__ = ["TurnMark"]

_BYTES = 256


class TurnMark:
    """The run whose turn is under way, or "".

    The worker writes it around every turn; the engine reads it once the worker is gone, since a process that
    crashed can no longer say what it was doing. Both sides map the same anonymous file.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _BYTES)

    @classmethod
    def create(cls) -> TurnMark:
        """A new one, without a run."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("convscope-turn")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.truncate(descriptor, _BYTES)
        return cls(descriptor)

    def enter(self, run: str) -> None:
        """It is this run's turn now."""
        name = run.encode()[: _BYTES - 1]
        self._memory[1 : 1 + len(name)] = name
        self._memory[0] = len(name)  # last: a crash in between blames nobody

    def leave(self) -> None:
        """It is nobody's turn."""
        self._memory[0] = 0

    @property
    def run(self) -> str:
        """Whose turn it is, or was when the worker died; "" once it is closed."""
        if self._memory.closed:
            return ""
        return self._memory[1 : 1 + self._memory[0]].decode(errors="replace")

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
        os.close(self.descriptor)
