"""The transport to a server in this process: the same messages, without a wire."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message

from convscope._methods import Method
from convscope._transport import AsyncStream, Stream
from convscope.errors import ConvscopeError, FailedPrecondition, FieldViolation, call_error

if TYPE_CHECKING:
    from convscope_server.embedded import EmbeddedServer

__all__ = ["AsyncEmbeddedTransport", "EmbeddedTransport", "needs_server", "start_server"]

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


@contextmanager
def needs_server() -> Iterator[None]:
    """Turns a missing package of the server into one sentence.

    Raises:
        FailedPrecondition: the server's packages are not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise FailedPrecondition(
            f'this needs the server: pip install "convscope[server]" (there is no module {error.name})',
            reason="SERVER_NOT_INSTALLED",
        ) from error


def start_server(
    *,
    techniques: Iterable[Any],
    plugin_files: Iterable[str | os.PathLike[str]],
    models_dir: str | os.PathLike[str] | None,
    image_sets_dir: str | os.PathLike[str] | None,
    devices: Iterable[str],
) -> EmbeddedServer:
    """A started server in this process.

    Raises:
        FailedPrecondition: the server's packages are not installed.
        ConvscopeError: its worker could not be started.
    """
    with needs_server():
        from convscope_server.embedded import EmbeddedServer

        server = EmbeddedServer(
            techniques=tuple(techniques),
            plugin_files=tuple(os.fspath(path) for path in plugin_files) or None,
            models_dir=None if models_dir is None else os.fspath(models_dir),
            image_sets_dir=None if image_sets_dir is None else os.fspath(image_sets_dir),
            devices=tuple(devices) or None,
        )
        with _translated():
            server.start()
    return server


@contextmanager
def _translated() -> Iterator[None]:
    from convscope_server.errors import RequestError

    try:
        yield
    except RequestError as refusal:
        raise _translate(refusal) from refusal


def _translate(refusal: Any) -> ConvscopeError:
    error = refusal.error
    if error.reason == "CLOSED":
        return FailedPrecondition("this client is closed; start a new one", reason="CLIENT_CLOSED")
    violations = [FieldViolation(v.field, v.description) for v in error.violations]
    kind = call_error(error.code)
    return kind(error.message, code=error.code, reason=error.reason, metadata=error.metadata, violations=violations)


class _EmbeddedStream(Iterator[R]):
    def __init__(self, messages: Any) -> None:
        self._messages = messages

    def __next__(self) -> R:
        with _translated():
            message: R = next(self._messages)
        return message

    def close(self) -> None:
        # A generator that another thread is reading cannot be closed; it ends with its server.
        with suppress(ValueError):
            self._messages.close()


class EmbeddedTransport:
    """Calls from threads to a server in this process, which it closes with itself."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    def unary(self, method: Method[Q, R], request: Q) -> R:
        """One request, one response."""
        return _answer(self._server.unary, method, request)

    def upload(self, method: Method[Q, R], requests: Iterator[Q]) -> R:
        """Many requests, one response."""
        return _answer(self._server.client_stream, method, requests)

    def stream(self, method: Method[Q, R], request: Q) -> Stream[R]:
        """One request, many responses."""
        with _translated():
            return _EmbeddedStream(self._server.stream(method.service, method.name, request))

    def close(self) -> None:
        """Stop the server."""
        self._server.close()


def _answer(call: Callable[[str, str, Any], Any], method: Method[Q, R], request: Any) -> R:
    with _translated():
        response: R = call(method.service, method.name, request)
    return response


class _AsyncEmbeddedStream(AsyncIterator[R]):
    def __init__(self, messages: Any) -> None:
        self._messages = messages

    async def __anext__(self) -> R:
        with _translated():
            message: R = await anext(self._messages)
        return message

    async def aclose(self) -> None:
        # A generator that another task is reading cannot be closed; it ends with its server.
        with suppress(RuntimeError):
            await self._messages.aclose()


class AsyncEmbeddedTransport:
    """Calls from an event loop to a server in this process, which it closes with itself."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    async def unary(self, method: Method[Q, R], request: Q) -> R:
        """One request, one response."""
        with _translated():
            response: R = await self._server.aunary(method.service, method.name, request)
        return response

    async def upload(self, method: Method[Q, R], requests: Iterator[Q]) -> R:
        """Many requests, one response."""
        with _translated():
            response: R = await self._server.aclient_stream(method.service, method.name, requests)
        return response

    def stream(self, method: Method[Q, R], request: Q) -> AsyncStream[R]:
        """One request, many responses."""
        return _AsyncEmbeddedStream(self._server.astream(method.service, method.name, request))

    async def close(self) -> None:
        """Stop the server."""
        await asyncio.to_thread(self._server.close)
