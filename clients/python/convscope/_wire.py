"""The only place where protobuf messages become plain values, and plain values become requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from convscope._wire_values import duration, from_struct, moment, seconds, to_struct
from convscope.errors import (
    ConvscopeError,
    FieldViolation,
    InvalidArgument,
    RunCancelled,
    call_error,
    run_error,
)
from convscope.events import (
    Artifact,
    ArtifactKind,
    CachePolicy,
    EventKind,
    Prediction,
    Priority,
    Progress,
    Report,
    RunEvent,
    RunState,
    Update,
)
from convscope.v1 import artifact_pb2, run_pb2, visualization_service_pb2

__all__ = ["PreviewOptions"]

Image: TypeAlias = artifact_pb2.Image
VisualizeRequest: TypeAlias = run_pb2.VisualizeRequest
WatchRunRequest: TypeAlias = visualization_service_pb2.WatchRunRequest
SubmitRunRequest: TypeAlias = visualization_service_pb2.SubmitRunRequest
ListRunsRequest: TypeAlias = visualization_service_pb2.ListRunsRequest
RunEventMessage: TypeAlias = run_pb2.RunEvent

CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
_STATES: tuple[RunState, ...] = get_args(RunState)
_KINDS: tuple[ArtifactKind, ...] = get_args(ArtifactKind)
_CANCEL_REASONS: dict[int, tuple[str, str]] = {
    run_pb2.CANCEL_REASON_REQUESTED: ("REQUESTED", "somebody asked for it"),
    run_pb2.CANCEL_REASON_DISCONNECTED: (
        "DISCONNECTED",
        "nobody watched it any more; detach=True lets a run go on alone",
    ),
    run_pb2.CANCEL_REASON_DRAINING: ("DRAINING", "the server shut down before it was done"),
}


class PreviewOptions(TypedDict, total=False):
    """How previews are made: shortest seconds between two, longest edge in pixels, file format."""

    min_interval: float
    max_edge: int
    format: Literal["jpeg", "png", "webp"]
    none: bool


# Errors


def status_error(code: str, message: str, details: bytes | None = None) -> ConvscopeError:
    """The error of a failed call, from its status and its `grpc-status-details-bin` trailer."""
    reason, metadata, violations = _read_details(details or b"")
    return call_error(code)(message, code=code, reason=reason, metadata=metadata, violations=violations)


def _read_details(details: bytes) -> tuple[str, dict[str, str], list[FieldViolation]]:
    try:
        status = status_pb2.Status.FromString(details)
    except DecodeError:  # A proxy's own idea of the trailer: the code and the message still count.
        return "", {}, []
    reason, metadata, violations = "", {}, []
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            violations += [FieldViolation(v.field, v.description) for v in bad.field_violations]
    return reason, metadata, violations


def failure(error: run_pb2.Error, run_id: str) -> ConvscopeError:
    """Why a run failed."""
    code = CODES[error.code] if 0 <= error.code < len(CODES) else "UNKNOWN"
    return run_error(code)(
        error.message,
        code=code,
        reason=error.reason,
        metadata=dict(error.metadata),
        violations=[FieldViolation(v.field, v.description) for v in error.violations],
        run_id=run_id,
    )


def cancellation(cancelled: run_pb2.Cancelled, run_id: str) -> RunCancelled:
    """Why a run was cancelled."""
    reason, why = _CANCEL_REASONS.get(cancelled.reason, ("", "the server does not say why"))
    return RunCancelled(f"run {run_id} was cancelled: {why}", reason=reason, run_id=run_id)


# Events


def event(message: run_pb2.RunEvent) -> RunEvent:
    """An entry of a run's log. A kind that this client does not know yet comes as a note that names it."""
    kind = message.WhichOneof("event")
    if kind is None:
        text = "an event of a newer server that this client cannot read: pip install --upgrade convscope"
        return _event(message, "note", note=text)
    return _event(message, kind, **_READERS[kind](message))


def _event(message: run_pb2.RunEvent, kind: EventKind, **fields: Any) -> RunEvent:
    time = moment(message.time) or datetime.fromtimestamp(0, UTC)
    return RunEvent(message.run, message.sequence, kind, time, **fields)


def _queued(message: run_pb2.RunEvent) -> dict[str, Any]:
    eta = seconds(message.queued.eta) if message.queued.HasField("eta") else None
    return {"position": message.queued.position, "eta": eta, "for_memory": message.queued.for_memory}


_READERS: Mapping[str, Callable[[run_pb2.RunEvent], dict[str, Any]]] = {
    "accepted": lambda _: {},
    "queued": _queued,
    "started": lambda message: _started(message.started),
    "progress": lambda message: {"progress": _progress(message.progress)},
    "preview": lambda message: {"artifact": artifact(message.preview)},
    "result": lambda message: {"artifact": artifact(message.result)},
    "note": lambda message: {"note": message.note.text},
    "gap": lambda message: {"gap": (message.gap.first, message.gap.last)},
    "checkpointed": lambda message: {"step": message.checkpointed.step},
    "updated": lambda message: update(message.updated)._asdict(),
    "paused": lambda _: {},
    "succeeded": lambda message: {"report": report(message.succeeded.report)},
    "failed": lambda message: {"error": failure(message.failed.error, message.run)},
    "cancelled": lambda message: {"error": cancellation(message.cancelled, message.run)},
}


def _started(message: run_pb2.Started) -> dict[str, Any]:
    return {"device": message.device, "attempt": max(1, message.attempt), "step": message.step}


def update(message: run_pb2.Update) -> Update:
    """A change of parameters on the way."""
    return Update(message.step, from_struct(message.params))


def _progress(message: run_pb2.Progress) -> Progress:
    eta = seconds(message.eta) if message.HasField("eta") else None
    return Progress(message.step, message.total, dict(message.metrics), eta)


def artifact(message: artifact_pb2.Artifact) -> Artifact:
    """A preview or a result."""
    limits = message.value_range if message.HasField("value_range") else None
    return Artifact(
        name=message.name,
        kind=_KINDS[max(0, message.kind - 1)] if message.kind <= len(_KINDS) else "text",
        media_type=message.media_type,
        digest=message.digest,
        size_bytes=message.size_bytes,
        content=message.inline_content if message.HasField("inline_content") else None,
        caption=message.caption,
        width=message.width,
        height=message.height,
        value_range=(limits.min, limits.max) if limits is not None else None,
        step=message.step,
    )


def report(message: run_pb2.Report) -> Report:
    """The report of a run that succeeded."""
    predictions = tuple(Prediction(p.index, p.label, p.probability) for p in message.predictions)
    return Report(dict(message.scores), tuple(message.notes), from_struct(message.provenance), predictions)


def run_state(state: int) -> RunState:
    """The name of a run's state."""
    return _STATES[min(max(state, 1), len(_STATES)) - 1]


def to_run_state(state: RunState | None) -> run_pb2.RunState.ValueType:
    """The state of that name, or "any".

    Raises:
        InvalidArgument: there is no such state.
    """
    if state is None:
        return run_pb2.RUN_STATE_UNSPECIFIED
    if state not in _STATES:
        raise InvalidArgument(f"no run state {state!r}; choose one of {', '.join(_STATES)}")
    return run_pb2.RunState.Value(f"RUN_STATE_{state.upper()}")


# Requests


def visualize_request(
    technique: str,
    *,
    model: str,
    image: Image | None,
    extra_images: Mapping[str, Image],
    params: Mapping[str, Any],
    seed: int,
    request_id: str,
    previews: PreviewOptions | bool | None,
    deadline: float | None,
    detach: bool,
    labels: Mapping[str, str],
    max_restarts: int,
    media_types: Sequence[str],
    priority: Priority,
    cache: CachePolicy,
    updates: Sequence[tuple[int, Mapping[str, Any]]],
) -> VisualizeRequest:
    """The request for one run."""
    try:
        return VisualizeRequest(
            technique=technique,
            model=model,
            image=image,
            extra_images=extra_images,
            params=to_struct(params),
            seed=seed,
            request_id=request_id,
            previews=preview_options(previews),
            deadline=None if deadline is None else duration(deadline),
            on_disconnect=run_pb2.ON_DISCONNECT_DETACH if detach else run_pb2.ON_DISCONNECT_CANCEL,
            labels=labels,
            max_restarts=max_restarts,
            media_types=media_types,
            priority=to_priority(priority),
            cache=_to_cache(cache),
            updates=_to_updates(updates),
        )
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"the request cannot be sent as it is: {error}") from error


def update_request(run_id: str, params: Mapping[str, Any]) -> visualization_service_pb2.UpdateRunRequest:
    """The request for a change of a run's parameters."""
    return visualization_service_pb2.UpdateRunRequest(run=run_id, params=to_struct(params))


def to_priority(priority: Priority) -> run_pb2.Priority.ValueType:
    """The number of a priority.

    Raises:
        InvalidArgument: there is no such priority.
    """
    if priority not in get_args(Priority):
        raise InvalidArgument(f"no priority {priority!r}; there are {', '.join(get_args(Priority))}")
    return run_pb2.Priority.Value(f"PRIORITY_{priority.upper()}")


def _to_updates(updates: Sequence[tuple[int, Mapping[str, Any]]]) -> list[run_pb2.Update]:
    try:
        pairs = [(step, dict(params)) for step, params in updates]
    except (TypeError, ValueError) as error:
        example = "(57, {'step_size': 0.5})"
        raise InvalidArgument(f"each of `updates` is a step and what changes behind it, such as {example}") from error
    return [
        run_pb2.Update(step=step, params=to_struct(params, f"updates[{place}].params"))
        for place, (step, params) in enumerate(pairs)
    ]


def _to_cache(policy: CachePolicy) -> run_pb2.CachePolicy.ValueType:
    if policy not in get_args(CachePolicy):
        raise InvalidArgument(f"no cache policy {policy!r}; there are {', '.join(get_args(CachePolicy))}")
    return run_pb2.CachePolicy.Value(f"CACHE_POLICY_{policy.upper()}")


def from_priority(number: int) -> Priority:
    """The priority with a number; normal for one that this client does not know."""
    return next((name for name in get_args(Priority) if to_priority(name) == number), "normal")


def preview_options(previews: PreviewOptions | bool | None) -> run_pb2.PreviewOptions | None:
    """The options that the caller means: None the server's own, False none, a dict some.

    Raises:
        InvalidArgument: an option is unknown.
    """
    if previews is None or previews is True:
        return None
    if previews is False:
        return run_pb2.PreviewOptions(none=True)
    unknown = set(previews) - set(PreviewOptions.__annotations__)
    if unknown:
        known = ", ".join(sorted(PreviewOptions.__annotations__))
        raise InvalidArgument(f"no preview option {min(unknown)!r}; there are {known}")
    interval, name = previews.get("min_interval"), previews.get("format", "jpeg").upper()
    if name not in {"JPEG", "PNG", "WEBP"}:
        raise InvalidArgument(f"no preview format {name.lower()!r}; choose jpeg, png or webp")
    return run_pb2.PreviewOptions(
        min_interval=None if interval is None else duration(interval),
        max_edge=previews.get("max_edge", 0),
        format=run_pb2.PreviewFormat.Value(f"PREVIEW_FORMAT_{name}"),
        none=previews.get("none", False),
    )
