"""A real server on a free port with an engine of the test's choice, and stubs to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from convscope.v1 import artifact_pb2, run_pb2
from convscope.v1.catalog_service_pb2_grpc import CatalogServiceStub
from convscope.v1.content_service_pb2_grpc import ContentServiceStub
from convscope.v1.image_set_service_pb2_grpc import ImageSetServiceStub
from convscope.v1.model_admin_service_pb2_grpc import ModelAdminServiceStub
from convscope.v1.visualization_service_pb2_grpc import VisualizationServiceStub
from convscope_server.api.convert import struct_of
from convscope_server.app import run_server
from convscope_server.config import Settings
from convscope_server.engine.engine import Catalog
from convscope_server.engine.messages import LayerInfo, ModelDetail, ModelInfo, PluginInfo, TechniqueInfo
from convscope_server.signals import StopSignals
from support.fake_engine import FakeEngine
from support.pictures import encoded

__all__ = ["CATALOG", "DETAIL", "Port", "Refusal", "catalog_engine", "refusal_of", "serving", "visualize"]

_STOP_SECONDS = 20.0
_SCHEMA = """{
  "type": "object", "additionalProperties": false,
  "properties": {
    "octaves": {"type": "integer", "minimum": 1, "maximum": 20, "default": 4},
    "label": {"type": "string"},
    "fit": {"enum": ["crop", "resize", "pad"], "default": "crop"},
    "target": {"type": ["string", "integer"], "format": "convscope-target", "examples": ["top1", "class:285"]}
  }
}"""
_IMAGE = TechniqueInfo(
    "saliency", "Which pixels matter.", _SCHEMA, ("image", "gradients"), "Simonyan 2013", "convscope"
)
_STYLE = TechniqueInfo("style", "One picture like another.", _SCHEMA, ("image",), extra_images={"style": "the style"})
_FILTERS = TechniqueInfo("filters", "The first weights.", _SCHEMA)
_DREAM = TechniqueInfo("dream", "More of it.", _SCHEMA, ("image",), resumable=True, steers=("label", "octaves"))
_MODEL = ModelInfo("efficientnet_lite0", "classifier", "builtin", "a small network")

CATALOG = Catalog(
    techniques={t.id: t for t in (_DREAM, _IMAGE, _STYLE, _FILTERS)},
    models={_MODEL.name: _MODEL},
    plugins=(
        PluginInfo("convscope", "convscope", "0.1.0", techniques=("dream", "filters", "saliency", "style")),
        PluginInfo("broken", "vendor-pack", "2.1", "ModuleNotFoundError: No module named 'cv2'", ("vendor.flow",)),
    ),
)
DETAIL = ModelDetail(
    _MODEL,
    "sha256:1",
    False,
    100,
    400,
    224,
    (0.5, 0.5, 0.5),
    (0.2, 0.2, 0.2),
    ("tench", "goldfish"),
    (LayerInfo("conv1", "Conv2d", (64, 112, 112), 9408),),
    {"first_conv": "conv1"},
)


def catalog_engine(**options: Any) -> FakeEngine:
    """An engine that offers `CATALOG`."""
    engine = FakeEngine(catalog=CATALOG, **options)
    engine.details[_MODEL.name] = DETAIL
    return engine


@dataclass(frozen=True, slots=True)
class Port:
    """A server that is ready, and a channel to it."""

    line: str
    channel: grpc.aio.Channel
    stop: StopSignals
    server: asyncio.Task[None]

    @property
    def address(self) -> str:
        return self.line.split()[4]

    @property
    def visualization(self) -> Any:
        return VisualizationServiceStub(self.channel)

    @property
    def catalog(self) -> Any:
        return CatalogServiceStub(self.channel)

    @property
    def content(self) -> Any:
        return ContentServiceStub(self.channel)

    @property
    def image_sets(self) -> Any:
        return ImageSetServiceStub(self.channel)

    @property
    def admin(self) -> Any:
        return ModelAdminServiceStub(self.channel)


@asynccontextmanager
async def serving(engine: FakeEngine, data: Path, *, fixed_port: int = 0, **settings: Any) -> AsyncIterator[Port]:
    """A server from `run_server`, stopped at the end as by two signals, also where a test fails inside."""
    stop = StopSignals()
    line: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    chosen = Settings(port=fixed_port, data_dir=data, **settings)
    server = asyncio.create_task(run_server(chosen, ready=line.set_result, engine=engine, stop=stop))
    try:
        await asyncio.wait((server, line), return_when=asyncio.FIRST_COMPLETED)
        if server.done():
            server.result()
        async with grpc.aio.insecure_channel(line.result().split()[4]) as channel:
            yield Port(line.result(), channel, stop, server)
    finally:
        stop.signal()
        stop.signal()
        await asyncio.wait_for(server, _STOP_SECONDS)


def visualize(technique: str = "saliency", **changes: Any) -> run_pb2.VisualizeRequest:
    """A request that is fine unless changed; params are plain values, an image is bytes or a digest."""
    fields: dict[str, Any] = {"model": "efficientnet_lite0", "image": encoded(), **changes}
    params, image = fields.pop("params", {}), fields.pop("image")
    extra = {role: _image(source) for role, source in fields.pop("extra_images", {}).items()}
    request = run_pb2.VisualizeRequest(technique=technique, params=struct_of(params), extra_images=extra, **fields)
    if image is not None:
        request.image.CopyFrom(_image(image))
    return request


def _image(source: bytes | str) -> artifact_pb2.Image:
    return artifact_pb2.Image(digest=source) if isinstance(source, str) else artifact_pb2.Image(encoded=source)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A failed call as a client sees it."""

    code: str
    message: str
    reason: str
    metadata: dict[str, str]
    violations: dict[str, str]
    retry_after: float | None = None
    quotas: tuple[str, ...] = ()


async def refusal_of(call: Any) -> Refusal:
    """What a call that must fail failed with; a stream is read to its end."""
    try:
        if hasattr(call, "__aiter__") and not hasattr(call, "__await__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return _refusal(error)
    raise AssertionError("the call succeeded")


def _refusal(error: grpc.aio.AioRpcError) -> Refusal:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, quota = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(retry) or detail.Unpack(quota)
    assert not info.reason or info.domain == "convscope"
    violations = {v.field: v.description for v in bad.field_violations}
    return Refusal(
        error.code().name,
        error.details() or "",
        info.reason,
        dict(info.metadata),
        violations,
        retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
        tuple(violation.subject for violation in quota.violations),
    )
