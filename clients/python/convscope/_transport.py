"""How calls reach a server: the seam under the client, and gRPC below it, sync and asyncio.

A transport raises nothing but `ConvscopeError`s, and a stream that it gives can be closed at any time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from google.protobuf.message import Message

from convscope._address import Address
from convscope._methods import Method
from convscope._reconnect import UNREACHABLE, Backoff, wait_to_repeat
from convscope._unreached import why_unreached
from convscope._wire import status_error
from convscope.errors import ConvscopeError, FailedPrecondition, Unavailable

if TYPE_CHECKING:
    import grpc
    import grpc.aio

__all__ = ["AsyncStream", "AsyncTransport", "GrpcAioTransport", "GrpcTransport", "Stream", "Transport"]

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
M_co = TypeVar("M_co", covariant=True)

# A half-open connection is noticed after 20 + 10 s; reconnecting never waits longer than 5 s.
_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The timeout above is that of the write; what waits for the answer is this one, a minute by default.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

_DETAILS = "grpc-status-details-bin"
# How long a call whose connection breaks is made again; a server that is gone is reported at once.
_REPEAT_SECONDS = 30.0


class Stream(Protocol[M_co]):
    """Messages as they come, until `close`."""

    def __iter__(self) -> Iterator[M_co]: ...

    def __next__(self) -> M_co: ...

    def close(self) -> None:
        """End the call; the server notices."""


class AsyncStream(Protocol[M_co]):
    """Messages as they come, until `aclose`."""

    def __aiter__(self) -> AsyncIterator[M_co]: ...

    async def __anext__(self) -> M_co: ...

    async def aclose(self) -> None:
        """End the call; the server notices."""


class Transport(Protocol):
    """Calls from threads."""

    def unary(self, method: Method[Q, R], request: Q) -> R:
        """One request, one response."""

    def stream(self, method: Method[Q, R], request: Q) -> Stream[R]:
        """One request, many responses. The call begins now, not with the first read."""

    def upload(self, method: Method[Q, R], requests: Iterator[Q]) -> R:
        """Many requests, one response."""

    def close(self) -> None:
        """Let go of the connection; streams end."""


class AsyncTransport(Protocol):
    """Calls from an event loop."""

    async def unary(self, method: Method[Q, R], request: Q) -> R:
        """One request, one response."""

    def stream(self, method: Method[Q, R], request: Q) -> AsyncStream[R]:
        """One request, many responses. The call begins now, not with the first read."""

    async def upload(self, method: Method[Q, R], requests: Iterator[Q]) -> R:
        """Many requests, one response."""

    async def close(self) -> None:
        """Let go of the connection; streams end."""


def _translate(error: grpc.Call | grpc.aio.AioRpcError, target: str) -> ConvscopeError:
    """What a failed gRPC call means to the caller."""
    code, details = error.code().name, error.details() or ""
    rich = next((value for key, value in error.trailing_metadata() or () if key == _DETAILS), None)
    if code == "UNAVAILABLE" and rich is None:
        if "failed to connect" not in details.lower() and "dns" not in details.lower():
            return Unavailable(f"the connection to {target} broke ({details})")
        return Unavailable(why_unreached(target, details), reason=UNREACHABLE)
    if code == "UNIMPLEMENTED" and rich is None:
        details = f"the server at {target} does not know this call: an older convscope, or none at all"
    return status_error(code, details, rich if isinstance(rich, bytes) else None)


def _backoff(method: Method[Q, R]) -> Backoff:
    # To delete twice is to be told that there is no such thing; all else may be said again.
    return Backoff(0.0 if method.name.startswith("Delete") else _REPEAT_SECONDS)


def _closed() -> FailedPrecondition:
    return FailedPrecondition("this client is closed; connect again", reason="CLIENT_CLOSED")


def _stub(kind: Callable[..., Any], method: Method[Q, R]) -> Callable[..., Any]:
    stub: Callable[..., Any] = kind(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    return stub


class _GrpcStream(Iterator[R]):
    def __init__(self, call: Any, target: str) -> None:
        self._call = call
        self._target = target

    def __next__(self) -> R:
        import grpc

        try:
            message: R = next(self._call)
        except grpc.RpcError as error:
            raise _translate(self._call, self._target) from error
        return message

    def close(self) -> None:
        self._call.cancel()


class GrpcTransport:
    """gRPC from threads. Nothing connects before the first call."""

    def __init__(self, address: Address) -> None:
        import grpc

        self._address = address
        if address.tls is None:
            self._channel = grpc.insecure_channel(address.target, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address.target, address.tls.credentials(), options=_OPTIONS)

    def unary(self, method: Method[Q, R], request: Q) -> R:
        """One request, one response; made again where the connection broke meanwhile."""
        backoff = _backoff(method)
        while True:
            try:
                patience = self._address.timeout_of(method.path)
                return self._finish(self._channel.unary_unary, method, request, patience)
            except ConvscopeError as error:
                time.sleep(wait_to_repeat(error, backoff, time.monotonic()))

    def upload(self, method: Method[Q, R], requests: Iterator[Q]) -> R:
        """Many requests, one response."""
        return self._finish(self._channel.stream_unary, method, requests, None)

    def stream(self, method: Method[Q, R], request: Q) -> Stream[R]:
        """One request, many responses."""
        try:
            call = _stub(self._channel.unary_stream, method)(request, metadata=self._address.metadata())
        except ValueError as error:
            raise _closed() from error
        return _GrpcStream(call, self._address.target)

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def _finish(self, kind: Callable[..., Any], method: Method[Q, R], request: Any, patience: float | None) -> R:
        import grpc

        address = self._address
        try:
            response: R = _stub(kind, method)(request, timeout=patience, metadata=address.metadata())
        except grpc.RpcError as error:
            raise _translate(cast("grpc.Call", error), address.target) from error
        except ValueError as error:
            raise _closed() from error
        return response


class _GrpcAioStream(AsyncIterator[R]):
    def __init__(self, call: Any, target: str) -> None:
        self._call = call
        self._messages = aiter(call)
        self._target = target

    async def __anext__(self) -> R:
        import grpc.aio

        try:
            message: R = await anext(self._messages)
        except grpc.aio.AioRpcError as error:
            raise _translate(error, self._target) from error
        return message

    async def aclose(self) -> None:
        self._call.cancel()


class GrpcAioTransport:
    """gRPC from an event loop. The channel belongs to the loop of the first call."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._open: grpc.aio.Channel | None = None
        self._closed = False

    @property
    def _channel(self) -> grpc.aio.Channel:
        import grpc
        import grpc.aio

        if self._closed:
            raise _closed()
        if self._open is None:
            address = self._address
            if address.tls is None:
                self._open = grpc.aio.insecure_channel(address.target, options=_OPTIONS)
            else:
                self._open = grpc.aio.secure_channel(address.target, address.tls.credentials(), options=_OPTIONS)
        return self._open

    async def unary(self, method: Method[Q, R], request: Q) -> R:
        """One request, one response; made again where the connection broke meanwhile."""
        import asyncio

        backoff = _backoff(method)
        while True:
            try:
                patience = self._address.timeout_of(method.path)
                return await self._finish(self._channel.unary_unary, method, request, patience)
            except ConvscopeError as error:
                await asyncio.sleep(wait_to_repeat(error, backoff, time.monotonic()))

    async def upload(self, method: Method[Q, R], requests: Iterator[Q]) -> R:
        """Many requests, one response."""
        return await self._finish(self._channel.stream_unary, method, requests, None)

    def stream(self, method: Method[Q, R], request: Q) -> AsyncStream[R]:
        """One request, many responses."""
        stub = _stub(self._channel.unary_stream, method)
        return _GrpcAioStream(stub(request, metadata=self._address.metadata()), self._address.target)

    async def close(self) -> None:
        """Let go of the connection."""
        self._closed = True
        if self._open is not None:
            await self._open.close()

    async def _finish(self, kind: Callable[..., Any], method: Method[Q, R], request: Any, patience: float | None) -> R:
        import grpc.aio

        address = self._address
        try:
            response: R = await _stub(kind, method)(request, timeout=patience, metadata=address.metadata())
        except grpc.aio.AioRpcError as error:
            raise _translate(error, address.target) from error
        return response
