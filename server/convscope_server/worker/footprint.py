"""What a run takes of its device's memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from convscope_server.worker.memory import Memory

__all__ = ["Footprint", "Gauge"]


@dataclass(slots=True)
class Footprint:
    """Bytes that a run holds between its turns, and that it has had at most within one, those included."""

    held: int = 0
    most_held: int = 0
    peak: int = 0

    def add(self, *, top: int, end: int) -> None:
        """A turn has raised the device's memory by `top` at most, and by `end` at its end."""
        self.peak = max(self.peak, self.held + top)
        self.held = max(0, self.held + end)
        self.most_held = max(self.most_held, self.held)


class Gauge(Memory):
    """Measures turns.

    On a GPU the allocator counts every byte. On a CPU it is the growth of the process, at the turn's end and whenever
    the watchdog looked: an estimate from below, since memory that was freed is taken again without growth.
    """

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._cuda = torch.device(device) if device.startswith("cuda") else None
        self._top = 0

    def held(self) -> int:
        """As `Memory.held`; the most that was seen counts for the turn under way."""
        now = super().held()
        self._top = max(self._top, now)
        return now

    @contextmanager
    def measuring(self, footprint: Footprint) -> Iterator[None]:
        """Within it is a turn of the run whose footprint it is."""
        before = self._begin()
        try:
            yield
        finally:
            now = self._now()
            footprint.add(top=max(self._most(), now) - before, end=now - before)

    def _begin(self) -> int:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
            return self._now()
        self._top = 0
        return self.held()

    def _now(self) -> int:
        return self.held() if self._cuda is None else torch.cuda.memory_allocated(self._cuda)

    def _most(self) -> int:
        return self._top if self._cuda is None else torch.cuda.max_memory_allocated(self._cuda)
