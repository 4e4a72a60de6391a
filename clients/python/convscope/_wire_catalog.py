"""The second half of the wire module: what the catalog, the devices and the list of runs say."""

from __future__ import annotations

import json

from convscope._wire import failure, from_priority, run_state, update
from convscope._wire_values import from_struct, moment
from convscope.catalog import (
    DeviceInfo,
    ImageSetInfo,
    LayerInfo,
    LoadedModel,
    ModelInfo,
    PluginInfo,
    ReceptiveField,
    RunInfo,
    TechniqueInfo,
)
from convscope.v1 import catalog_service_pb2, image_set_service_pb2, model_admin_service_pb2, run_pb2

__all__: list[str] = []

_WORKER_STATES: dict[int, str] = {
    model_admin_service_pb2.WORKER_STATE_STARTING: "starting",
    model_admin_service_pb2.WORKER_STATE_READY: "ready",
    model_admin_service_pb2.WORKER_STATE_DRAINING: "draining",
}


def technique(message: catalog_service_pb2.Technique) -> TechniqueInfo:
    """A technique of the catalog."""
    return TechniqueInfo(
        id=message.id,
        summary=message.summary,
        params_schema=json.loads(message.params_schema or "{}"),
        needs=frozenset(message.needs),
        cites=message.cites,
        package=message.package,
        version=message.version,
        extra_images=dict(message.extra_images),
        resumable=message.resumable,
        steers=frozenset(message.steers),
        cacheable=message.cacheable,
        batchable=message.batchable,
    )


def model(message: catalog_service_pb2.Model) -> ModelInfo:
    """A model of the catalog, with what is known of it."""
    detail = message.detail
    return ModelInfo(
        name=message.name,
        kind=message.kind,
        source=message.source,
        description=message.description,
        devices=tuple(message.devices),
        weights_digest=detail.weights_digest,
        random_weights=detail.random_weights,
        parameters=detail.parameters,
        size_bytes=detail.size_bytes,
        input_size=detail.input_size,
        mean=tuple(detail.mean),
        std=tuple(detail.std),
        classes=tuple(detail.classes),
        layers=tuple(layer(item) for item in detail.layers),
        aliases=dict(detail.aliases),
    )


def layer(message: catalog_service_pb2.Layer) -> LayerInfo:
    """A layer of a model."""
    seen = message.receptive_field if message.HasField("receptive_field") else None
    return LayerInfo(
        name=message.name,
        kind=message.kind,
        output_shape=tuple(message.output_shape),
        parameters=message.parameters,
        functional=message.functional,
        receptive_field=None if seen is None else _receptive_field(seen),
    )


def _receptive_field(message: catalog_service_pb2.ReceptiveField) -> ReceptiveField:
    (height, width), (down, across), (top, left) = message.size, message.stride, message.offset
    return ReceptiveField((height, width), (down, across), (top, left))


def plugin(message: catalog_service_pb2.Plugin) -> PluginInfo:
    """A plugin that the server found."""
    return PluginInfo(
        name=message.name,
        package=message.package,
        version=message.version,
        loaded=message.state == catalog_service_pb2.PLUGIN_STATE_LOADED,
        reason=message.reason,
        techniques=tuple(message.techniques),
        import_seconds=message.import_seconds,
        denied=message.state == catalog_service_pb2.PLUGIN_STATE_DENIED,
    )


def device(message: model_admin_service_pb2.Device) -> DeviceInfo:
    """A device and what is on it."""
    return DeviceInfo(
        name=message.name,
        state=_WORKER_STATES.get(message.state, "unknown"),
        pid=message.pid,
        runs=tuple(message.runs),
        models=tuple(LoadedModel(m.name, m.size_bytes, m.users) for m in message.models),
        model_budget_bytes=message.model_budget_bytes,
        restarts=message.restarts,
    )


def image_set(message: image_set_service_pb2.ImageSet) -> ImageSetInfo:
    """An image set of the catalog."""
    return ImageSetInfo(
        name=message.name,
        source=message.source,
        description=message.description,
        count=message.count,
        labels={column.name: dict(column.counts) for column in message.label_columns},
        size_bytes=message.size_bytes,
        manifest=message.manifest,
        create_time=moment(message.create_time) if message.HasField("create_time") else None,
    )


def run(message: run_pb2.Run) -> RunInfo:
    """A run as it is now."""
    return RunInfo(
        id=message.id,
        state=run_state(message.state),
        model=message.model,
        technique=message.technique,
        params=from_struct(message.params),
        seed=message.seed,
        request_id=message.request_id,
        labels=dict(message.labels),
        create_time=moment(message.create_time),
        start_time=moment(message.start_time),
        end_time=moment(message.end_time),
        last_sequence=message.last_sequence,
        device_seconds=message.device_time.ToTimedelta().total_seconds(),
        priority=from_priority(message.priority),
        updates=tuple(update(item) for item in message.updates),
        error=failure(message.error, message.id) if message.HasField("error") else None,
    )
