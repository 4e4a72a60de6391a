"""The client for asyncio: `convscope.aio.connect` gives the same methods, to be awaited."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from convscope import _methods, _wire, _wire_catalog
from convscope._address import Address
from convscope._aio_content import deliver
from convscope._aio_image_sets import AsyncImageSets
from convscope._aio_run import AsyncRun
from convscope._content import digest_of
from convscope._profiles import Access
from convscope._reconnect import Backoff, Cursor
from convscope._submission import Submission
from convscope._transport import AsyncTransport, GrpcAioTransport
from convscope._wire import PreviewOptions
from convscope.catalog import DeviceInfo, ModelInfo, PluginInfo, RunInfo, TechniqueInfo
from convscope.client import DEFAULT_MODEL, list_request
from convscope.events import CachePolicy, Priority, RunState
from convscope.images import ImageLike, encode_image

__all__ = ["AsyncClient", "AsyncRun", "connect", "embedded"]


class AsyncClient:
    """A server, as seen from an event loop: `convscope.Client`, to be awaited. Use it in an `async with` block."""

    def __init__(self, transport: AsyncTransport, *, give_up_after: float = 300.0) -> None:
        self._transport = transport
        self._give_up_after = give_up_after

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the server. Runs that are not detached are cancelled if nobody watches them again soon."""
        await self._transport.close()

    async def techniques(self) -> list[TechniqueInfo]:
        """Every technique that can be asked for, by id."""
        response = await self._transport.unary(_methods.LIST_TECHNIQUES, _methods.LIST_TECHNIQUES.request())
        return [_wire_catalog.technique(item) for item in response.techniques]

    async def technique(self, technique: str) -> TechniqueInfo:
        """One technique by its id."""
        request = _methods.GET_TECHNIQUE.request(id=technique)
        return _wire_catalog.technique((await self._transport.unary(_methods.GET_TECHNIQUE, request)).technique)

    async def models(self) -> list[ModelInfo]:
        """Every model with a name, without its layers. Sources may resolve more ("timm:resnet18")."""
        response = await self._transport.unary(_methods.LIST_MODELS, _methods.LIST_MODELS.request())
        return [_wire_catalog.model(item) for item in response.models]

    async def model(self, model: str) -> ModelInfo:
        """One model with its layers, aliases and classes; it is loaded if need be."""
        response = await self._transport.unary(_methods.GET_MODEL, _methods.GET_MODEL.request(name=model))
        return _wire_catalog.model(response.model)

    async def plugins(self) -> list[PluginInfo]:
        """Every plugin found when the server started, the broken ones with their reason."""
        response = await self._transport.unary(_methods.LIST_PLUGINS, _methods.LIST_PLUGINS.request())
        return [_wire_catalog.plugin(item) for item in response.plugins]

    async def devices(self) -> list[DeviceInfo]:
        """The devices, their workers and the models on them."""
        response = await self._transport.unary(_methods.LIST_DEVICES, _methods.LIST_DEVICES.request())
        return [_wire_catalog.device(item) for item in response.devices]

    async def load_model(self, model: str, *, device: str = "") -> str:
        """Bring a model onto a device ("" lets the server choose) ahead of its first run; gives the device."""
        request = _methods.LOAD_MODEL.request(model=model, device=device)
        return (await self._transport.unary(_methods.LOAD_MODEL, request)).device

    async def unload_model(self, model: str, *, device: str = "") -> list[str]:
        """Take a model off a device, or off all; gives the devices that it was on."""
        request = _methods.UNLOAD_MODEL.request(model=model, device=device)
        return list((await self._transport.unary(_methods.UNLOAD_MODEL, request)).devices)

    @property
    def image_sets(self) -> AsyncImageSets:
        """The sets of pictures that techniques can look at; make one of your own with `image_sets.create`."""
        return AsyncImageSets(self._transport, give_up_after=self._give_up_after)

    async def visualize(
        self,
        technique: str,
        *,
        image: ImageLike | None = None,
        model: str = DEFAULT_MODEL,
        extra_images: Mapping[str, ImageLike] | None = None,
        seed: int = 0,
        detach: bool = False,
        request_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        deadline: float | None = None,
        previews: PreviewOptions | bool | None = None,
        max_restarts: int = 0,
        media_types: Sequence[str] = (),
        priority: Priority = "normal",
        cache: CachePolicy = "default",
        updates: Sequence[tuple[int, Mapping[str, Any]]] = (),
        **params: Any,
    ) -> AsyncRun:
        """A run of a technique on a model; returns as soon as the server has accepted it.

        Arguments and errors are those of `Client.visualize`.
        """
        submission = Submission.of(
            technique,
            params,
            image=image,
            model=model,
            extra_images=extra_images,
            seed=seed,
            detach=detach,
            request_id=request_id,
            labels=labels,
            deadline=deadline,
            previews=previews,
            max_restarts=max_restarts,
            media_types=media_types,
            priority=priority,
            cache=cache,
            updates=updates,
        )
        await deliver(self._transport, submission.uploads)
        if detach:
            return await AsyncRun(self._transport, self._cursor())._submit(submission.request)  # noqa: SLF001 - its maker
        run = AsyncRun(self._transport, self._cursor(), submission=submission.request)
        return await run._begin()  # noqa: SLF001 - its maker

    async def attach(self, run_id: str, after_sequence: int = 0, *, every_preview: bool = False) -> AsyncRun:
        """Watch a run from any point of its log; `every_preview` leaves none out, however slow this watcher is.

        Raises:
            NotFound: no such run.
        """
        run = AsyncRun(self._transport, self._cursor(run_id, after_sequence), every_preview=every_preview)
        await run.refresh()
        return run

    async def run(self, run_id: str) -> RunInfo:
        """One run as it is now."""
        request = _methods.GET_RUN.request(run=run_id)
        return _wire_catalog.run((await self._transport.unary(_methods.GET_RUN, request)).run)

    async def runs(
        self,
        *,
        state: RunState | None = None,
        technique: str = "",
        model: str = "",
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> list[RunInfo]:
        """Runs, newest first: those that fit every filter, at most `limit`."""
        request = list_request(state, technique, model, labels, limit)
        found: list[RunInfo] = []
        while True:
            page = await self._transport.unary(_methods.LIST_RUNS, request)
            found += [_wire_catalog.run(item) for item in page.runs]
            if not page.next_page_token or (limit is not None and len(found) >= limit):
                return found[:limit]
            request.page_token = page.next_page_token

    async def cancel(self, run_id: str) -> RunInfo:
        """Ask a run to end at its next step; gives it as it is then. An ended run stays as it is."""
        request = _methods.CANCEL_RUN.request(run=run_id)
        return _wire_catalog.run((await self._transport.unary(_methods.CANCEL_RUN, request)).run)

    async def pause(self, run_id: str) -> RunInfo:
        """Take a run off its device, or out of the queue, until `resume`; gives it as it is then.

        Raises:
            FailedPrecondition: its technique keeps no checkpoints, or an identical run waits for it.
        """
        request = _methods.PAUSE_RUN.request(run=run_id)
        return _wire_catalog.run((await self._transport.unary(_methods.PAUSE_RUN, request)).run)

    async def resume(self, run_id: str) -> RunInfo:
        """Let a paused run wait for a device again, where it goes on to the same bits; any other stays as it is."""
        request = _methods.RESUME_RUN.request(run=run_id)
        return _wire_catalog.run((await self._transport.unary(_methods.RESUME_RUN, request)).run)

    async def update(self, run_id: str, /, **params: Any) -> RunInfo:
        """Change parameters of a run on the way: see `AsyncRun.update`; gives it as it is then."""
        request = _wire.update_request(run_id, params)
        return _wire_catalog.run((await self._transport.unary(_methods.UPDATE_RUN, request)).run)

    async def delete(self, run_id: str) -> None:
        """Forget an ended run, its events and its results.

        Raises:
            FailedPrecondition: it is alive; cancel it first.
        """
        await self._transport.unary(_methods.DELETE_RUN, _methods.DELETE_RUN.request(run=run_id))

    async def upload(self, image: ImageLike) -> str:
        """Send a picture ahead, if the server does not have it, and give its digest: an `image` for many runs."""
        content = encode_image(image)
        digest = digest_of(content)
        await deliver(self._transport, {digest: content})
        return digest

    def _cursor(self, run_id: str = "", after_sequence: int = 0) -> Cursor:
        return Cursor(run_id, after_sequence, backoff=Backoff(self._give_up_after))


def connect(
    target: str,
    *,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    timeout: float = 60.0,
    give_up_after: float = 300.0,
) -> AsyncClient:
    """A client of the server at `target` for an event loop. Arguments and errors are those of `convscope.connect`."""
    address = Address.of(target, Access.of(token, ca, cert, key), timeout=timeout)
    return AsyncClient(GrpcAioTransport(address), give_up_after=give_up_after)


def embedded(
    *,
    techniques: Iterable[Any] = (),
    plugin_files: Iterable[str | os.PathLike[str]] = (),
    models_dir: str | os.PathLike[str] | None = None,
    image_sets_dir: str | os.PathLike[str] | None = None,
    devices: Iterable[str] = (),
) -> AsyncClient:
    """A client of a server inside this process. Arguments and errors are those of `convscope.embedded`."""
    from convscope._embedded import AsyncEmbeddedTransport, start_server

    server = start_server(
        techniques=techniques,
        plugin_files=plugin_files,
        models_dir=models_dir,
        image_sets_dir=image_sets_dir,
        devices=devices,
    )
    return AsyncClient(AsyncEmbeddedTransport(server))
