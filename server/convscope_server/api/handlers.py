"""How gRPC calls a servicer's methods: the one place where errors become statuses."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from convscope.v1 import run_pb2
from convscope_server.access.principal import acting_as
from convscope_server.api.admission import Admission
from convscope_server.api.shared import Shared
from convscope_server.api.status import DETAILS_KEY, grpc_code, internal_error, message_of, status_of
from convscope_server.errors import RequestError

__all__ = ["MAX_MESSAGE", "handlers_of", "method_name"]

_EVENT = run_pb2.RunEvent.DESCRIPTOR.full_name

MAX_MESSAGE = 4 * 2**20
"""Bytes of a request, gRPC's own default."""


def method_name(rpc: str) -> str:
    """The name of a servicer's method for an RPC: "get_run" for "GetRun"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", rpc).lower()


def handlers_of(
    service: ServiceDescriptor, servicer: object, admission: Admission
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """A handler for each RPC of a service, by name.

    Args:
        service: What the wire says.
        servicer: Has an async method for each RPC (`get_run` for GetRun), or an async generator where it streams.
        admission: Asked before each call who makes it.
    """
    return {method.name: _handler(method, servicer, admission) for method in service.methods}


def _handler(method: MethodDescriptor, servicer: object, admission: Admission) -> grpc.RpcMethodHandler[Any, Any]:
    behaviour = getattr(servicer, method_name(method.name))
    write = GetMessageClass(method.output_type).SerializeToString
    coders: dict[str, Any] = {
        "request_deserializer": _reading(GetMessageClass(method.input_type).FromString),
        # Many watchers are sent one event; every other response is somebody's own.
        "response_serializer": Shared(write, size=len) if method.output_type.full_name == _EVENT else write,
    }
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_many(behaviour, method, admission), **coders)
    respond = _one(behaviour, method, admission, _read_each if method.client_streaming else _read)
    if method.client_streaming:
        return grpc.stream_unary_rpc_method_handler(respond, **coders)
    return grpc.unary_unary_rpc_method_handler(respond, **coders)


def _one(
    behaviour: Callable[..., Any], method: MethodDescriptor, admission: Admission, read: Callable[[Any], Any]
) -> Callable[..., Any]:
    async def respond(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        async with _Answer(context, method.full_name):
            with acting_as(await admission.admit(context, method)):
                return await behaviour(read(request))

    return respond


def _many(behaviour: Callable[..., Any], method: MethodDescriptor, admission: Admission) -> Callable[..., Any]:
    # A coroutine that writes, not a generator: when the client goes, the cancellation arrives inside the
    # `async with`, and not first when a suspended generator is collected.
    async def respond(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        async with _Answer(context, method.full_name):
            with acting_as(await admission.admit(context, method)):
                async with aclosing(behaviour(_read(request))) as responses:
                    async for response in responses:
                        await context.write(response)

    return respond


class _Answer:
    """Ends the call with the status of what was raised inside; a cancellation passes."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], method: str) -> None:
        self._context = context
        self._method = method

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, RequestError):
            refusal = error
        elif isinstance(error, Exception):  # a bug of this server: whatever was foreseen is a RequestError
            refusal = internal_error(self._method)
        else:
            return
        details = ((DETAILS_KEY, status_of(refusal.error).SerializeToString()),)
        await self._context.abort(grpc_code(refusal.error.code), message_of(refusal.error), details)


@dataclass(frozen=True, slots=True)
class _Unread:
    """Stands for a message that was not parsed, until there is a call to refuse."""

    refusal: RequestError


def _reading(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        if len(data) > MAX_MESSAGE:
            return _Unread(_too_long(len(data)))
        try:
            return parse(data)
        except DecodeError as error:
            message = f"the message cannot be read ({error}); it is cut short, or its parameters are nested too deep"
            return _Unread(RequestError.of("INVALID_ARGUMENT", "MESSAGE_UNREADABLE", message))

    return read


def _too_long(size: int) -> RequestError:
    return RequestError.of(
        "RESOURCE_EXHAUSTED",
        "MESSAGE_TOO_LONG",
        f"the message has {size:,} bytes; at most {MAX_MESSAGE:,} are read: send the picture with "
        "ContentService.Upload, in chunks of 1 MiB, and name it by digest",
        metadata={"size_bytes": str(size), "max_bytes": str(MAX_MESSAGE)},
    )


def _read(request: Any) -> Any:
    if isinstance(request, _Unread):
        raise request.refusal
    return request


async def _read_each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _read(request)
