"""What a run observer is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ObservedEvent", "ObservedRun"]


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """A run: what was asked for, by whom it may be told apart, and when (Unix seconds)."""

    id: str
    technique: str
    model: str
    params: Mapping[str, Any]
    seed: int
    labels: Mapping[str, str]
    create_time: float


@dataclass(frozen=True, slots=True)
class ObservedEvent:
    """One entry of a run's log, after it was stored.

    Attributes:
        sequence: Place in the log, from 1.
        time: Unix seconds.
        kind: "accepted", "queued", "started", "progress", "preview", "result", "note", "succeeded", "failed" or
            "cancelled".
        data: Its fields as plain values: of "progress" `step`, `total`, `metrics`; of "result" `artifact` with `name`,
            `kind`, `media_type`, `digest` and, up to 1 MiB, `content`; of "succeeded" `report`; of "failed" `error`.
    """

    sequence: int
    time: float
    kind: str
    data: Mapping[str, Any]
