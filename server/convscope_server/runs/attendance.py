"""Who watches runs, and what happens when the last one leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from convscope_server.runs.events import CancelReason
from convscope_server.runs.live import LiveRun

__all__ = ["Attendance"]


class Attendance:
    """Counts watchers. A run that asked for it is cancelled once nobody has watched it for `grace` seconds.

    Args:
        grace: Seconds.
        cancel: Cancels a run.
    """

    def __init__(self, grace: float, cancel: Callable[[LiveRun, CancelReason], None]) -> None:
        self._grace = grace
        self._cancel = cancel

    def enter(self, live: LiveRun | None) -> None:
        """One more watcher; None has ended."""
        if live is not None:
            live.watchers += 1
            live.stop_disconnect_timer()

    def leave(self, live: LiveRun | None) -> None:
        """One watcher less; None has ended."""
        if live is not None:
            live.watchers -= 1
            self.look(live)

    def look(self, live: LiveRun) -> None:
        """Begin to count the seconds if nobody watches the run."""
        if live.request.on_disconnect == "cancel" and not (live.watchers or live.ending or live.paused):
            loop = asyncio.get_running_loop()
            live.disconnect_timer = loop.call_later(self._grace, self._cancel, live, "disconnected")
