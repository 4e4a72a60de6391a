"""A server without a port, in the caller's process: the same stack, kept in memory."""

from __future__ import annotations

import asyncio
import concurrent.futures
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import fsspec

from convscope_server.api.status import internal_error
from convscope_server.config import Settings
from convscope_server.engine.engine import Engine
from convscope_server.engine.inprocess import InProcessEngine
from convscope_server.errors import RequestError
from convscope_server.stack import Stack, worker_options

if TYPE_CHECKING:
    from convscope_sdk.technique import Technique

__all__ = ["EmbeddedServer"]

T = TypeVar("T")

_END = object()


class EmbeddedServer:
    """The whole server on a thread of this process, called with the wire's messages but without a wire.

    Runs, images and results live in memory and are gone when it is closed. All methods may be called from any
    thread; the async ones from any event loop. Used as a context manager, it starts and closes itself.

    Args:
        settings: Everything that can be set; what concerns the port and the data directory is not used. Where
            absent, no model is loaded before it is asked for.
        techniques: Techniques to offer besides those of installed plugins.
        plugin_files: Loose plugin files; instead of those of the settings where given.
        models_dir: Directory of models; likewise.
        image_sets_dir: Directory of image sets; likewise.
        devices: Devices; likewise. Only the first is used.
        engine: Makes the engine, for tests.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        techniques: Sequence[Technique[Any]] = (),
        plugin_files: Sequence[str | Path] | None = None,
        models_dir: str | Path | None = None,
        image_sets_dir: str | Path | None = None,
        devices: Sequence[str] | None = None,
        engine: Callable[[], Engine] | None = None,
    ) -> None:
        base = settings or Settings(warm_models=())
        given = {
            "plugin_files": None if plugin_files is None else tuple(map(str, plugin_files)),
            "models_dir": models_dir,
            "image_sets_dir": image_sets_dir,
            "devices": None if devices is None else tuple(devices),
        }
        changed = {key: value for key, value in given.items() if value is not None}
        self._settings = Settings.model_validate({**base.model_dump(), **changed})
        self._blobs = f"memory://convscope-{uuid.uuid4().hex}"
        self._make_engine = engine or self._in_process(techniques)
        self._checkpoints = Path()
        self._stack: Stack | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def _in_process(self, techniques: Sequence[Technique[Any]]) -> Callable[[], Engine]:
        def make() -> Engine:
            kept = {"content_url": self._blobs, "checkpoints_dir": str(self._checkpoints)}
            return InProcessEngine(worker_options(self._settings, **kept), techniques=techniques)

        return make

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the worker; returns when it takes runs. Starting twice is fine.

        Raises:
            RequestError: the worker could not be started.
        """
        with self._lock:
            if self._thread is not None:
                return
            ready: concurrent.futures.Future[None] = concurrent.futures.Future()
            thread = threading.Thread(
                target=lambda: asyncio.run(self._live(ready)), name="convscope-embedded", daemon=True
            )
            thread.start()
            ready.result()
            self._thread = thread

    def close(self) -> None:
        """End every run and forget everything. Closing twice is fine."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None or self._loop is None or self._closing is None:
                return
            self._loop.call_soon_threadsafe(self._closing.set)
            thread.join()

    def unary(self, service: str, rpc: str, request: Any) -> Any:
        """The response of an RPC: `unary("CatalogService", "ListModels", ListModelsRequest())`.

        Raises:
            RequestError: what the server refuses.
            LookupError: there is no such RPC.
        """
        return self._wait(_answered(self._behaviour(service, rpc)(request), rpc))

    def client_stream(self, service: str, rpc: str, requests: Iterable[Any]) -> Any:
        """The response of an RPC that takes a stream of requests (`Upload`); errors as of `unary`."""
        return self._wait(_answered(self._behaviour(service, rpc)(_in_thread(requests)), rpc))

    def stream(self, service: str, rpc: str, request: Any) -> Iterator[Any]:
        """The responses of an RPC that streams them; errors as of `unary`. Closing the iterator ends the watching."""
        source = _Source(self._behaviour(service, rpc)(request), rpc)
        try:
            while (response := self._wait(source.next())) is not _END:
                yield response
        finally:
            with suppress(RequestError):  # closed already, with the server
                self._wait(source.close())

    async def aunary(self, service: str, rpc: str, request: Any) -> Any:
        """`unary` for another event loop."""
        return await self._awaited(_answered(self._behaviour(service, rpc)(request), rpc))

    async def aclient_stream(self, service: str, rpc: str, requests: Iterable[Any]) -> Any:
        """`client_stream` for another event loop."""
        return await self._awaited(_answered(self._behaviour(service, rpc)(_in_thread(requests)), rpc))

    async def astream(self, service: str, rpc: str, request: Any) -> AsyncIterator[Any]:
        """`stream` for another event loop."""
        source = _Source(self._behaviour(service, rpc)(request), rpc)
        try:
            while (response := await self._awaited(source.next())) is not _END:
                yield response
        finally:
            with suppress(RequestError):  # closed already, with the server
                await self._awaited(source.close())

    async def _live(self, ready: concurrent.futures.Future[None]) -> None:
        """Everything, from start to close, on the thread's own loop."""
        checkpoints = tempfile.TemporaryDirectory(prefix="convscope-", ignore_cleanup_errors=True)
        self._checkpoints = Path(checkpoints.name)
        stack = Stack.build(
            self._settings,
            self._make_engine(),
            database="sqlite://",
            blobs=self._blobs,
            checkpoints=self._checkpoints,
        )
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        try:
            await stack.start()
            self._stack = stack
            ready.set_result(None)
            await self._closing.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)  # whoever waits in `start` must see it, whatever it is
        finally:
            self._stack = None
            await stack.close()
            _forget(self._blobs)
            checkpoints.cleanup()

    def _behaviour(self, service: str, rpc: str) -> Callable[[Any], Any]:
        if self._stack is None:
            raise _closed()
        return self._stack.servicers.method(service, rpc)

    def _submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        if self._stack is None or self._loop is None:
            work.close()
            raise _closed()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = self._submit(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise _closed() from None
        finally:
            future.cancel()  # for a caller who was interrupted while waiting

    async def _awaited(self, work: Coroutine[Any, Any, T]) -> T:
        future = self._submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise _closed() from None


class _Source:
    """An async generator that is pulled from elsewhere, one step at a time, and closed only between steps."""

    def __init__(self, responses: Any, rpc: str) -> None:
        self._responses = responses
        self._rpc = rpc
        self._step = asyncio.Lock()

    async def next(self) -> Any:
        async with self._step:
            return await _answered(anext(self._responses, _END), self._rpc)

    async def close(self) -> None:
        async with self._step:
            await self._responses.aclose()


async def _answered(work: Any, rpc: str) -> Any:
    try:
        return await work
    except RequestError:
        raise
    except Exception:  # noqa: BLE001 - a bug of this server: whatever was foreseen is a RequestError
        raise internal_error(rpc) from None


async def _in_thread(requests: Iterable[Any]) -> AsyncIterator[Any]:
    """The caller's requests, made in a thread: they may read files, and the loop must not wait for that."""
    iterator = iter(requests)
    while (request := await asyncio.to_thread(next, iterator, _END)) is not _END:
        yield request


def _forget(url: str) -> None:
    files, root = fsspec.core.url_to_fs(url)
    with suppress(FileNotFoundError):
        files.rm(root, recursive=True)


def _closed() -> RequestError:
    return RequestError.of("UNAVAILABLE", "CLOSED", "the embedded server is closed; start a new one")
