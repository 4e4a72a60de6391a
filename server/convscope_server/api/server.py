"""The grpc.aio server: every service, health, reflection and keepalive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from convscope.v1 import (
    catalog_service_pb2,
    content_service_pb2,
    image_set_service_pb2,
    model_admin_service_pb2,
    visualization_service_pb2,
)
from convscope_server.api.admission import Admission
from convscope_server.api.catalog import CatalogServicer
from convscope_server.api.content import ContentServicer
from convscope_server.api.handlers import handlers_of, method_name
from convscope_server.api.health import Health
from convscope_server.api.holdings import Holdings
from convscope_server.api.image_sets import ImageSetServicer
from convscope_server.api.model_admin import ModelAdminServicer
from convscope_server.api.validate import Validator
from convscope_server.api.visualization import VisualizationServicer
from convscope_server.config import Settings
from convscope_server.engine.engine import Engine
from convscope_server.images.content import ContentStore
from convscope_server.images.sets import ImageSetService
from convscope_server.runs.service import RunService
from convscope_server.runs.store import RunStore

__all__ = ["SERVICES", "Servicers", "channel_options", "grpc_server"]

# gRPC answers a message above its limit by itself, in words that help nobody ("Received message larger than
# max"). So its limit is higher, and requests above MAX_MESSAGE are refused by the handlers with what to do instead.
_MAX_RECEIVED = 32 * 2**20

_FILES = (
    visualization_service_pb2,
    catalog_service_pb2,
    model_admin_service_pb2,
    content_service_pb2,
    image_set_service_pb2,
)
SERVICES: Mapping[str, ServiceDescriptor] = {
    service.name: service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
}
"""The services by their short names."""

_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"


@dataclass(frozen=True, slots=True)
class Servicers:
    """What answers each service. They know nothing of gRPC, so they can be called without a server."""

    by_service: Mapping[str, object]

    @classmethod
    def of(
        cls,
        runs: RunService,
        store: RunStore,
        image_sets: ImageSetService,
        content: ContentStore,
        *,
        engine: Engine,
        settings: Settings,
    ) -> Servicers:
        """The services over what they delegate to."""
        holdings = Holdings(store, int(settings.principal_stored_bytes))
        validator = Validator(engine, content, holdings, image_sets, settings.max_image_pixels)
        return cls(
            {
                "VisualizationService": VisualizationServicer(runs, validator),
                "CatalogService": CatalogServicer(engine),
                "ModelAdminService": ModelAdminServicer(engine),
                "ContentService": ContentServicer(content, holdings),
                "ImageSetService": ImageSetServicer(image_sets, holdings, engine),
            }
        )

    def method(self, service: str, rpc: str) -> Callable[[Any], Any]:
        """What answers an RPC: "VisualizationService" or its full name, and "GetRun".

        Raises:
            LookupError: there is no such RPC.
        """
        short = service.rpartition(".")[2]
        if short not in SERVICES or rpc not in SERVICES[short].methods_by_name:
            raise LookupError(f"no RPC {service}/{rpc}")
        behaviour: Callable[[Any], Any] = getattr(self.by_service[short], method_name(rpc))
        return behaviour


def grpc_server(servicers: Servicers, health: Health, admission: Admission, settings: Settings) -> grpc.aio.Server:
    """A server with every service, health and reflection; not yet bound to a port."""
    server = grpc.aio.server(options=channel_options(settings))
    for name, service in SERVICES.items():
        handlers = handlers_of(service, servicers.by_service[name], admission)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    _add_reflection(server)
    return server


def channel_options(settings: Settings) -> list[tuple[str, Any]]:
    """How connections are kept: a silent one is pinged, and dropped where no answer comes."""
    return [
        ("grpc.max_receive_message_length", _MAX_RECEIVED),
        # Two servers on one port would share its connections by chance; the second one must fail instead.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", _milliseconds(settings.keepalive_time)),
        ("grpc.keepalive_timeout_ms", _milliseconds(settings.keepalive_timeout)),
        # The timeout above is that of the write; what waits for the answer is this one, a minute by default.
        ("grpc.http2.ping_timeout_ms", _milliseconds(settings.keepalive_timeout)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        (
            "grpc.http2.min_recv_ping_interval_without_data_ms",
            _milliseconds(settings.keepalive_min_client_interval),
        ),
        # Clients that ping too often are not thrown out with too_many_pings: they watch runs for hours.
        ("grpc.http2.max_ping_strikes", 0),
    ]


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _add_reflection(server: grpc.aio.Server) -> None:
    names = [service.full_name for service in SERVICES.values()]
    names += ["grpc.health.v1.Health", _REFLECTION_V1, reflection.SERVICE_NAME]
    servicer = reflection.aio.ReflectionServicer(names)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    # v1 has the messages of v1alpha under another name, and grpcio-reflection knows only the older one.
    v1 = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handler = grpc.method_handlers_generic_handler(_REFLECTION_V1, {"ServerReflectionInfo": v1})
    server.add_generic_rpc_handlers((handler,))
