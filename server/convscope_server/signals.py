"""SIGTERM and SIGINT: the first asks the server to end in good order, the second to end now."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

__all__ = ["StopSignals"]


@dataclass(slots=True)
class StopSignals:
    """Two events, set by the first and the second signal."""

    first: asyncio.Event = field(default_factory=asyncio.Event)
    second: asyncio.Event = field(default_factory=asyncio.Event)

    def signal(self) -> None:
        """What a signal does; anybody may call it."""
        (self.second if self.first.is_set() else self.first).set()

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Receive the process's signals, where it has any: only the main thread of a process gets them."""
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, ValueError, RuntimeError):
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.signal)
        try:
            yield self
        finally:
            with suppress(NotImplementedError):
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.remove_signal_handler(number)
