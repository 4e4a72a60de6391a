"""How much a run service takes on."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RunLimits"]


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Bounds of the service.

    Attributes:
        disconnect_grace: Seconds that an unwatched run goes on whose request says on_disconnect = "cancel".
        max_queued: Most runs that wait at a time.
        drain_grace: Seconds that live runs get to end by themselves when the server drains.
        inline_bytes: Largest artifact kept inside its event; larger ones lie in the content store.
    """

    disconnect_grace: float = 60.0
    max_queued: int = 1000
    drain_grace: float = 30.0
    inline_bytes: int = 1024 * 1024
