"""What the front end tells the observers' process."""

from __future__ import annotations

from typing import Any

import msgspec

from convscope_server.runs.events import Event

__all__ = ["Observed", "ObserverOptions", "RunFacts"]


class RunFacts(msgspec.Struct, frozen=True):
    """A run as it was asked for."""

    id: str
    technique: str
    model: str
    params: dict[str, Any]
    seed: int
    labels: dict[str, str]
    create_time: float


class Observed(msgspec.Struct, frozen=True):
    """A stored entry of a run's log."""

    run: RunFacts
    sequence: int
    time: float
    event: Event


class ObserverOptions(msgspec.Struct, frozen=True):
    """Which plugins observe: entry points by name, and files."""

    names: tuple[str, ...]
    files: tuple[str, ...] = ()
