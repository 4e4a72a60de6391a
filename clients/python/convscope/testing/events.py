"""What a scripted run tells."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from convscope import _wire, _wire_values
from convscope._content import digest_of
from convscope._methods import artifact, run

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "Event",
    "cancelled",
    "checkpointed",
    "failed",
    "image",
    "note",
    "paused",
    "preview",
    "progress",
    "queued",
    "started",
    "succeeded",
    "table",
    "tensor",
    "text",
    "updated",
]

Event: TypeAlias = run.RunEvent


def queued(position: int = 0, *, eta: float | None = None, for_memory: bool = False) -> Event:
    """The run waits, with that many in front or for memory, and starts in `eta` seconds if that is known."""
    left = None if eta is None else _wire_values.duration(eta)
    return Event(queued=run.Queued(position=position, eta=left, for_memory=for_memory))


def started(step: int = 0, *, device: str = "cpu", attempt: int = 1) -> Event:
    """The run is on a device, and goes on from its checkpoint of that step, or from its beginning."""
    return Event(started=run.Started(device=device, attempt=attempt, step=step))


def checkpointed(step: int) -> Event:
    """Whatever happens to its worker, the run goes on from here."""
    return Event(checkpointed=run.Checkpointed(step=step))


def updated(step: int, **params: Any) -> Event:
    """Behind the step, these parameters have these values."""
    return Event(updated=run.Update(step=step, params=_wire_values.to_struct(params)))


def paused() -> Event:
    """The run is off its device, and waits to be resumed."""
    return Event(paused=run.Paused())


def progress(step: int, total: int = 0, *, eta: float | None = None, **metrics: float) -> Event:
    """`step` of `total` is done."""
    left = None if eta is None else _wire_values.duration(eta)
    return Event(progress=run.Progress(step=step, total=total, metrics=metrics, eta=left))


def note(words: str) -> Event:
    """Something the reader should know."""
    return Event(note=run.Note(text=words))


def preview(picture: Image, *, step: int = 0) -> Event:
    """A frame on the way."""
    return Event(preview=_artifact("", artifact.ARTIFACT_KIND_IMAGE, "image/png", _png(picture), step=step))


def image(name: str, picture: Image, *, caption: str = "") -> Event:
    """A picture as a result."""
    return Event(result=_artifact(name, artifact.ARTIFACT_KIND_IMAGE, "image/png", _png(picture), caption=caption))


def tensor(name: str, array: Any) -> Event:
    """An array as a result."""
    import numpy as np

    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=False)
    return Event(result=_artifact(name, artifact.ARTIFACT_KIND_TENSOR, "application/x-npy", file.getvalue()))


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> Event:
    """A table as a result."""
    content = json.dumps([dict(row) for row in rows]).encode()
    return Event(result=_artifact(name, artifact.ARTIFACT_KIND_TABLE, "application/json", content))


def text(name: str, words: str, *, media_type: str = "text/plain") -> Event:
    """A text as a result."""
    return Event(result=_artifact(name, artifact.ARTIFACT_KIND_TEXT, media_type, words.encode()))


def succeeded(
    scores: Mapping[str, float] | None = None,
    *,
    notes: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    predictions: Sequence[tuple[int, str, float]] = (),
) -> Event:
    """The end, with a report."""
    report = run.Report(
        scores=scores,
        notes=notes,
        provenance=_wire_values.to_struct(provenance or {}),
        predictions=[run.Prediction(index=i, label=label, probability=p) for i, label, p in predictions],
    )
    return Event(succeeded=run.Succeeded(report=report))


def failed(code: str, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None) -> Event:
    """The end, with an error; `code` is a canonical gRPC status name."""
    error = run.Error(code=_wire.CODES.index(code), message=message, reason=reason, metadata=metadata)
    return Event(failed=run.Failed(error=error))


def cancelled() -> Event:
    """The end, because somebody asked for it."""
    return Event(cancelled=run.Cancelled(reason=run.CANCEL_REASON_REQUESTED))


def _artifact(
    name: str, kind: artifact.ArtifactKind.ValueType, media_type: str, content: bytes, **more: Any
) -> artifact.Artifact:
    return artifact.Artifact(
        name=name,
        kind=kind,
        media_type=media_type,
        digest=digest_of(content),
        size_bytes=len(content),
        inline_content=content,
        **more,
    )


def _png(picture: Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
