"""What the server knows, as protobuf messages, and parameters back again. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from convscope.v1 import artifact_pb2, catalog_service_pb2, model_admin_service_pb2, run_pb2
from convscope_server.api.status import code_number
from convscope_server.engine.messages import (
    DeviceStatus,
    LayerInfo,
    ModelDetail,
    ModelInfo,
    PluginInfo,
    TechniqueInfo,
)
from convscope_server.priority import Priority
from convscope_server.runs import events
from convscope_server.runs.run import Gap, LoggedEvent, RunRecord, RunState

__all__ = [
    "PRIORITIES",
    "RUN_STATES",
    "device_message",
    "error_message",
    "event_message",
    "model_detail_message",
    "model_message",
    "params_of",
    "plugin_message",
    "run_message",
    "struct_of",
    "technique_message",
]

_EXACT_INTEGERS = 2**53

RUN_STATES: Mapping[RunState, run_pb2.RunState.ValueType] = {
    "queued": run_pb2.RUN_STATE_QUEUED,
    "running": run_pb2.RUN_STATE_RUNNING,
    "succeeded": run_pb2.RUN_STATE_SUCCEEDED,
    "failed": run_pb2.RUN_STATE_FAILED,
    "cancelled": run_pb2.RUN_STATE_CANCELLED,
    "paused": run_pb2.RUN_STATE_PAUSED,
}
PRIORITIES: Mapping[Priority, run_pb2.Priority.ValueType] = {
    "interactive": run_pb2.PRIORITY_INTERACTIVE,
    "normal": run_pb2.PRIORITY_NORMAL,
    "batch": run_pb2.PRIORITY_BATCH,
}
_CANCEL_REASONS: Mapping[events.CancelReason, run_pb2.CancelReason.ValueType] = {
    "requested": run_pb2.CANCEL_REASON_REQUESTED,
    "disconnected": run_pb2.CANCEL_REASON_DISCONNECTED,
    "draining": run_pb2.CANCEL_REASON_DRAINING,
}
_ARTIFACT_KINDS: Mapping[str, artifact_pb2.ArtifactKind.ValueType] = {
    "image": artifact_pb2.ARTIFACT_KIND_IMAGE,
    "tensor": artifact_pb2.ARTIFACT_KIND_TENSOR,
    "table": artifact_pb2.ARTIFACT_KIND_TABLE,
    "text": artifact_pb2.ARTIFACT_KIND_TEXT,
}
_WORKER_STATES: Mapping[str, model_admin_service_pb2.WorkerState.ValueType] = {
    "starting": model_admin_service_pb2.WORKER_STATE_STARTING,
    "ready": model_admin_service_pb2.WORKER_STATE_READY,
    "draining": model_admin_service_pb2.WORKER_STATE_DRAINING,
}


def params_of(struct: Struct) -> dict[str, Any]:
    """The struct as plain values in the order of their keys, which protobuf does not keep.

    Its numbers are doubles: whole ones that a double holds exactly become integers.
    """
    return {key: _plain(value) for key, value in sorted(struct.fields.items())}


def _plain(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= _EXACT_INTEGERS else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return params_of(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
    return None


def struct_of(values: Mapping[str, Any]) -> Struct:
    """Plain JSON values as a struct."""
    struct = Struct()
    struct.update(values)
    return struct


def run_message(record: RunRecord) -> run_pb2.Run:
    """A run as it is now."""
    request = record.request
    return run_pb2.Run(
        id=record.id,
        state=RUN_STATES[record.state],
        model=request.model,
        technique=request.technique,
        params=struct_of(request.params),
        seed=request.seed,
        request_id=request.request_id,
        labels=request.labels,
        create_time=_timestamp(record.create_time),
        start_time=None if record.start_time is None else _timestamp(record.start_time),
        end_time=None if record.end_time is None else _timestamp(record.end_time),
        last_sequence=record.last_sequence,
        error=None if record.error is None else error_message(record.error),
        device_time=_duration(record.device_seconds),
        priority=PRIORITIES[request.priority],
        updates=[_update(update.step, update.params) for update in request.updates],
    )


def _update(step: int, params: Mapping[str, Any]) -> run_pb2.Update:
    return run_pb2.Update(step=step, params=struct_of(params))


def error_message(error: events.Error) -> run_pb2.Error:
    """Why a run failed."""
    return run_pb2.Error(
        code=code_number(error.code),
        message=error.message,
        reason=error.reason,
        metadata=error.metadata,
        violations=[run_pb2.FieldViolation(field=v.field, description=v.description) for v in error.violations],
    )


def event_message(entry: LoggedEvent | Gap) -> run_pb2.RunEvent:
    """An entry of a run's log; a gap carries the last sequence that it stands for, and no time."""
    if isinstance(entry, Gap):
        gap = run_pb2.Gap(first=entry.first, last=entry.last)
        return run_pb2.RunEvent(run=entry.run, sequence=entry.last, gap=gap)
    message = run_pb2.RunEvent(run=entry.run, sequence=entry.sequence, time=_timestamp(entry.time))
    field, content = _EVENTS[type(entry.event)]
    getattr(message, field).CopyFrom(content(entry.event))
    # A message whose every field has its default is only there once it has been set.
    getattr(message, field).SetInParent()
    return message


def _progress(event: events.Progress) -> run_pb2.Progress:
    eta = _optional_duration(event.eta_seconds)
    return run_pb2.Progress(step=event.step, total=event.total, metrics=event.metrics, eta=eta)


def _queued(event: events.Queued) -> run_pb2.Queued:
    eta = _optional_duration(event.eta_seconds)
    return run_pb2.Queued(position=event.position, eta=eta, for_memory=event.for_memory)


def _optional_duration(seconds: float | None) -> Duration | None:
    return None if seconds is None else _duration(seconds)


def _artifact(artifact: events.Artifact) -> artifact_pb2.Artifact:
    span = artifact.value_range
    return artifact_pb2.Artifact(
        name=artifact.name,
        kind=_ARTIFACT_KINDS[artifact.kind],
        media_type=artifact.media_type,
        caption=artifact.caption,
        digest=artifact.digest,
        size_bytes=artifact.size_bytes,
        inline_content=artifact.content,
        width=artifact.width,
        height=artifact.height,
        value_range=None if span is None else artifact_pb2.ValueRange(min=span[0], max=span[1]),
        step=artifact.step,
    )


def _report(report: events.Report) -> run_pb2.Report:
    return run_pb2.Report(
        scores=report.scores,
        notes=report.notes,
        provenance=struct_of(report.provenance),
        predictions=[
            run_pb2.Prediction(index=p.index, label=p.label, probability=p.probability) for p in report.predictions
        ],
    )


_EVENTS: Mapping[type[events.Event], tuple[str, Callable[[Any], Any]]] = {
    events.Accepted: ("accepted", lambda e: run_pb2.Accepted(request_id=e.request_id)),
    events.Queued: ("queued", _queued),
    events.Started: ("started", lambda e: run_pb2.Started(device=e.device, attempt=e.attempt, step=e.step)),
    events.Progress: ("progress", _progress),
    events.Preview: ("preview", lambda e: _artifact(e.artifact)),
    events.Result: ("result", lambda e: _artifact(e.artifact)),
    events.Note: ("note", lambda e: run_pb2.Note(text=e.text)),
    events.Checkpointed: ("checkpointed", lambda e: run_pb2.Checkpointed(step=e.step)),
    events.Updated: ("updated", lambda e: _update(e.step, e.params)),
    events.Paused: ("paused", lambda _: run_pb2.Paused()),
    events.Succeeded: ("succeeded", lambda e: run_pb2.Succeeded(report=_report(e.report))),
    events.Failed: ("failed", lambda e: run_pb2.Failed(error=error_message(e.error))),
    events.Cancelled: ("cancelled", lambda e: run_pb2.Cancelled(reason=_CANCEL_REASONS[e.reason])),
}


def technique_message(technique: TechniqueInfo) -> catalog_service_pb2.Technique:
    """A technique of the catalog."""
    return catalog_service_pb2.Technique(
        id=technique.id,
        summary=technique.summary,
        params_schema=technique.params_schema,
        needs=technique.needs,
        cites=technique.cites,
        package=technique.package,
        version=technique.version,
        extra_images=technique.extra_images,
        resumable=technique.resumable,
        steers=technique.steers,
        cacheable=technique.cacheable,
        batchable=technique.batchable,
    )


def model_message(model: ModelInfo, devices: list[str], detail: ModelDetail | None = None) -> catalog_service_pb2.Model:
    """A model, the devices that hold it, and what is known of it once it has been loaded."""
    return catalog_service_pb2.Model(
        name=model.name,
        kind=model.kind,
        source=model.source,
        description=model.description,
        devices=devices,
        detail=None if detail is None else model_detail_message(detail),
    )


def model_detail_message(detail: ModelDetail) -> catalog_service_pb2.ModelDetail:
    """What is known of a loaded model."""
    return catalog_service_pb2.ModelDetail(
        weights_digest=detail.weights_digest,
        random_weights=detail.random_weights,
        parameters=detail.parameters,
        size_bytes=detail.size_bytes,
        input_size=detail.input_size,
        mean=detail.mean,
        std=detail.std,
        classes=detail.classes,
        layers=[_layer(layer) for layer in detail.layers],
        aliases=detail.aliases,
    )


def _layer(layer: LayerInfo) -> catalog_service_pb2.Layer:
    field = None
    if layer.receptive_field is not None:
        size, stride, offset = layer.receptive_field
        field = catalog_service_pb2.ReceptiveField(size=size, stride=stride, offset=offset)
    return catalog_service_pb2.Layer(
        name=layer.name,
        kind=layer.kind,
        output_shape=layer.output_shape,
        parameters=layer.parameters,
        functional=layer.functional,
        receptive_field=field,
    )


def plugin_message(plugin: PluginInfo) -> catalog_service_pb2.Plugin:
    """A plugin; it failed where it has a reason, unless it was not allowed to try."""
    failed = catalog_service_pb2.PLUGIN_STATE_DENIED if plugin.denied else catalog_service_pb2.PLUGIN_STATE_FAILED
    return catalog_service_pb2.Plugin(
        name=plugin.name,
        package=plugin.package,
        version=plugin.version,
        state=failed if plugin.reason else catalog_service_pb2.PLUGIN_STATE_LOADED,
        reason=plugin.reason,
        techniques=plugin.techniques,
        import_seconds=plugin.import_seconds,
    )


def device_message(device: DeviceStatus) -> model_admin_service_pb2.Device:
    """A device, its worker, and the models on it."""
    models = [
        model_admin_service_pb2.LoadedModel(name=m.name, size_bytes=m.size_bytes, users=m.users) for m in device.models
    ]
    return model_admin_service_pb2.Device(
        name=device.name,
        state=_WORKER_STATES[device.state],
        pid=device.pid,
        runs=device.runs,
        models=models,
        model_budget_bytes=device.model_budget_bytes,
        restarts=device.restarts,
    )


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
