"""A real gRPC server, made from the stubs, in front of a `FakeServer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from convscope import _wire
from convscope.errors import ConvscopeError
from convscope.testing import FakeServer
from convscope.v1 import (
    catalog_service_pb2_grpc,
    content_service_pb2_grpc,
    image_set_service_pb2_grpc,
    model_admin_service_pb2_grpc,
    visualization_service_pb2_grpc,
)

__all__ = ["serving"]

_SERVICES = (
    (visualization_service_pb2_grpc, "VisualizationService", {"Visualize", "WatchRun"}),
    (catalog_service_pb2_grpc, "CatalogService", set[str]()),
    (content_service_pb2_grpc, "ContentService", {"Download"}),
    (image_set_service_pb2_grpc, "ImageSetService", set[str]()),
    (model_admin_service_pb2_grpc, "ModelAdminService", set[str]()),
)


@contextmanager
def serving(fake: FakeServer, port: int = 0) -> Iterator[int]:
    """Serves `fake` on a port of this machine; gives the port."""
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    for module, service, streams in _SERVICES:
        base = getattr(module, f"{service}Servicer")
        names = [name for name in vars(base) if name[0].isupper()]
        methods = {name: _method(fake, name, name in streams) for name in names}
        getattr(module, f"add_{service}Servicer_to_server")(type(service, (base,), methods)(), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(0).wait()


def _method(fake: FakeServer, name: str, streams: bool) -> Callable[..., Any]:
    def stream(_self: object, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from fake.stream(name, request)
        except ConvscopeError as error:
            _abort(context, error)

    def unary(_self: object, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return fake.upload(name, request) if name == "Upload" else fake.unary(name, request)
        except ConvscopeError as error:
            _abort(context, error)

    return stream if streams else unary


def _abort(context: grpc.ServicerContext, error: ConvscopeError) -> None:
    """Answers as the server does: with details where the error has a reason, without where a connection broke."""
    code = next(code for code in grpc.StatusCode if code.name == error.code)
    if error.reason:
        context.set_trailing_metadata((("grpc-status-details-bin", _details(error)),))
    context.abort(code, error.message)


def _details(error: ConvscopeError) -> bytes:
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain="convscope", metadata=error.metadata)
    fields = [
        error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description) for v in error.violations
    ]
    details = [AnyMessage(), AnyMessage()]
    details[0].Pack(info)
    details[1].Pack(error_details_pb2.BadRequest(field_violations=fields))
    code = _wire.CODES.index(error.code)
    return status_pb2.Status(code=code, message=error.message, details=details).SerializeToString()
