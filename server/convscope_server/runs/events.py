"""The entries of a run's log, as the worker makes them and the store keeps them.

msgspec structs, because they cross the pipe between processes and lie in the database: encoding is typed on
both sides, and reading one can never run code, as unpickling would.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "TERMINAL",
    "Accepted",
    "Artifact",
    "CancelReason",
    "Cancelled",
    "Checkpointed",
    "Error",
    "Event",
    "Failed",
    "FieldViolation",
    "Note",
    "Paused",
    "Prediction",
    "Preview",
    "Progress",
    "Queued",
    "Report",
    "Result",
    "Started",
    "Succeeded",
    "Updated",
    "is_skippable",
    "is_terminal",
]

ArtifactKind = Literal["image", "tensor", "table", "text"]
CancelReason = Literal["requested", "disconnected", "draining"]
"""The last is in logs of earlier versions only: a server that drains cancels nothing."""


class Artifact(msgspec.Struct, frozen=True, omit_defaults=True):
    """Content made by a run. `content` is None once it lies in the content store, under `digest`."""

    name: str
    kind: ArtifactKind
    media_type: str
    content: bytes | None
    digest: str
    size_bytes: int
    caption: str = ""
    width: int = 0
    height: int = 0
    value_range: tuple[float, float] | None = None
    step: int = 0


class FieldViolation(msgspec.Struct, frozen=True):
    """One argument at fault."""

    field: str
    description: str


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why something failed. `code` is a canonical gRPC status name."""

    code: str
    message: str
    reason: str
    metadata: dict[str, str] = {}
    violations: tuple[FieldViolation, ...] = ()


class Prediction(msgspec.Struct, frozen=True):
    """One class; probability in [0, 1]."""

    index: int
    label: str
    probability: float


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """Did it work, and what exactly was done. `provenance` holds plain JSON values."""

    scores: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    provenance: dict[str, object] = {}
    predictions: tuple[Prediction, ...] = ()


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event"):
    pass


class Accepted(_Event, frozen=True, tag="accepted"):
    """Stored, and sure to end."""

    request_id: str


class Queued(_Event, frozen=True, tag="queued"):
    """Waiting, with `position` runs in front; `eta_seconds` until the start, where it can be told.

    `for_memory`: it would have its turn, but does not fit beside the runs that are on devices.
    """

    position: int
    eta_seconds: float | None = None
    for_memory: bool = False


class Started(_Event, frozen=True, tag="started"):
    """On a device; `attempt` counts from 1. The run goes on behind `step`, 0 at its beginning."""

    device: str
    attempt: int = 1
    step: int = 0


class Progress(_Event, frozen=True, tag="progress"):
    """`step` of `total` (0: unknown); `eta_seconds` to the end where it can be told."""

    step: int
    total: int = 0
    metrics: dict[str, float] = {}
    eta_seconds: float | None = None


class Preview(_Event, frozen=True, tag="preview"):
    """A frame on the way."""

    artifact: Artifact


class Result(_Event, frozen=True, tag="result"):
    """One finished thing."""

    artifact: Artifact


class Note(_Event, frozen=True, tag="note"):
    """Something the reader should know."""

    text: str


class Checkpointed(_Event, frozen=True, tag="checkpointed"):
    """What the run needs to go on from `step` is kept, under `key` among the checkpoints."""

    step: int
    key: str


class Paused(_Event, frozen=True, tag="paused"):
    """Off its device, and out of the queue, until it is resumed."""


class Updated(_Event, frozen=True, tag="updated"):
    """From behind `step` on, these parameters have these values."""

    step: int
    params: dict[str, Any]


class Succeeded(_Event, frozen=True, tag="succeeded"):
    """Ended well."""

    report: Report


class Failed(_Event, frozen=True, tag="failed"):
    """Ended with an error."""

    error: Error


class Cancelled(_Event, frozen=True, tag="cancelled"):
    """Stopped."""

    reason: CancelReason


Event = (
    Accepted
    | Queued
    | Started
    | Progress
    | Preview
    | Result
    | Note
    | Checkpointed
    | Paused
    | Updated
    | Succeeded
    | Failed
    | Cancelled
)
TERMINAL = (Succeeded, Failed, Cancelled)


def is_terminal(event: Event) -> bool:
    """Whether the event ends its run."""
    return isinstance(event, TERMINAL)


def is_skippable(event: Event) -> bool:
    """Whether a slow watcher may be told of it by a gap alone."""
    return isinstance(event, Preview | Progress)
