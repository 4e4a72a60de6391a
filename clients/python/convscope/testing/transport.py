"""Transports that end in a `FakeServer`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, TypeVar, cast

from convscope._methods import Message, Method
from convscope._transport import AsyncStream, Stream

if TYPE_CHECKING:
    from convscope.testing.server import FakeServer

__all__ = ["AsyncFakeTransport", "FakeTransport"]

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


class FakeTransport:
    """Calls from threads."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def unary(self, method: Method[Q, R], request: Q) -> R:
        """One request, one response."""
        return cast("R", self._server.unary(method.name, request))

    def upload(self, method: Method[Q, R], requests: Iterator[Q]) -> R:
        """Many requests, one response."""
        return cast("R", self._server.upload(method.name, requests))

    def stream(self, method: Method[Q, R], request: Q) -> Stream[R]:
        """One request, many responses."""
        return cast("Stream[R]", self._server.stream(method.name, request))

    def close(self) -> None:
        """Nothing to let go of."""


class AsyncFakeTransport:
    """Calls from an event loop."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server

    async def unary(self, method: Method[Q, R], request: Q) -> R:
        """One request, one response."""
        return cast("R", self._server.unary(method.name, request))

    async def upload(self, method: Method[Q, R], requests: Iterator[Q]) -> R:
        """Many requests, one response."""
        return cast("R", self._server.upload(method.name, requests))

    def stream(self, method: Method[Q, R], request: Q) -> AsyncStream[R]:
        """One request, many responses."""
        return _Later(cast("Iterator[R]", self._server.stream(method.name, request)))

    async def close(self) -> None:
        """Nothing to let go of."""


class _Later(AsyncIterator[R]):
    def __init__(self, messages: Iterator[R]) -> None:
        self._messages = messages

    async def __anext__(self) -> R:
        for message in self._messages:
            return message
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Nothing to let go of."""
