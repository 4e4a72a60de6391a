"""How much a run service takes on."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PrincipalLimits", "RunLimits"]


@dataclass(frozen=True, slots=True)
class PrincipalLimits:
    """Bounds for each principal alone; 0 sets none.

    Attributes:
        running: Runs on devices at a time; further ones wait.
        queued: Runs that wait at a time.
        device_seconds: Device seconds in an hour; then nothing of theirs is accepted, and what waits does not start.
        stored_bytes: Bytes of the runs and uploads that are kept.
    """

    running: int = 0
    queued: int = 0
    device_seconds: float = 0.0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Bounds of the service.

    Attributes:
        disconnect_grace: Seconds that an unwatched run goes on whose request says on_disconnect = "cancel".
        max_queued: Most runs that wait at a time.
        drain_grace: Seconds that live runs get to end by themselves when the server drains.
        inline_bytes: Largest artifact kept inside its event; larger ones lie in the content store.
        ageing: Seconds of waiting that make a run as urgent as the next priority.
        cache: Whether identical runs are computed once.
        principal: Bounds for each principal alone.
    """

    disconnect_grace: float = 60.0
    max_queued: int = 1000
    drain_grace: float = 30.0
    inline_bytes: int = 1024 * 1024
    ageing: float = 60.0
    cache: bool = True
    principal: PrincipalLimits = field(default_factory=PrincipalLimits)
