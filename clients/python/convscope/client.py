"""The client: everything that a server can do, from threads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from convscope import _methods, _wire, _wire_catalog
from convscope._address import Address
from convscope._content import deliver, digest_of
from convscope._profiles import Access
from convscope._reconnect import Backoff, Cursor
from convscope._submission import Submission
from convscope._transport import GrpcTransport, Transport
from convscope._wire import PreviewOptions
from convscope.catalog import DeviceInfo, ModelInfo, PluginInfo, RunInfo, TechniqueInfo
from convscope.events import CachePolicy, Priority, RunState
from convscope.image_sets import ImageSets
from convscope.images import ImageLike, encode_image
from convscope.run import Run

__all__ = ["Client", "connect", "embedded"]

DEFAULT_MODEL = "efficientnet_lite0"


class Client:
    """A server, as seen from here. Made by `connect` or `embedded`; close it, or use it in a `with` block.

    Every method raises `ConvscopeError`: `Unavailable` where nobody answers, `NotFound` with near names,
    `InvalidArgument` whose `violations` name each argument at fault, and so on.
    It may be used from several threads.
    """

    def __init__(self, transport: Transport, *, give_up_after: float = 300.0) -> None:
        self._transport = transport
        self._give_up_after = give_up_after

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the server. Runs that are not detached are cancelled if nobody watches them again soon."""
        self._transport.close()

    def techniques(self) -> list[TechniqueInfo]:
        """Every technique that can be asked for, by id."""
        response = self._transport.unary(_methods.LIST_TECHNIQUES, _methods.LIST_TECHNIQUES.request())
        return [_wire_catalog.technique(item) for item in response.techniques]

    def technique(self, technique: str) -> TechniqueInfo:
        """One technique by its id."""
        response = self._transport.unary(_methods.GET_TECHNIQUE, _methods.GET_TECHNIQUE.request(id=technique))
        return _wire_catalog.technique(response.technique)

    def models(self) -> list[ModelInfo]:
        """Every model with a name, without its layers. Sources may resolve more ("timm:resnet18")."""
        response = self._transport.unary(_methods.LIST_MODELS, _methods.LIST_MODELS.request())
        return [_wire_catalog.model(item) for item in response.models]

    def model(self, model: str) -> ModelInfo:
        """One model with its layers, aliases and classes; it is loaded if need be."""
        response = self._transport.unary(_methods.GET_MODEL, _methods.GET_MODEL.request(name=model))
        return _wire_catalog.model(response.model)

    def plugins(self) -> list[PluginInfo]:
        """Every plugin found when the server started, the broken ones with their reason."""
        response = self._transport.unary(_methods.LIST_PLUGINS, _methods.LIST_PLUGINS.request())
        return [_wire_catalog.plugin(item) for item in response.plugins]

    def devices(self) -> list[DeviceInfo]:
        """The devices, their workers and the models on them."""
        response = self._transport.unary(_methods.LIST_DEVICES, _methods.LIST_DEVICES.request())
        return [_wire_catalog.device(item) for item in response.devices]

    def load_model(self, model: str, *, device: str = "") -> str:
        """Bring a model onto a device ("" lets the server choose) ahead of its first run; gives the device."""
        request = _methods.LOAD_MODEL.request(model=model, device=device)
        return self._transport.unary(_methods.LOAD_MODEL, request).device

    def unload_model(self, model: str, *, device: str = "") -> list[str]:
        """Take a model off a device, or off all; gives the devices that it was on."""
        request = _methods.UNLOAD_MODEL.request(model=model, device=device)
        return list(self._transport.unary(_methods.UNLOAD_MODEL, request).devices)

    @property
    def image_sets(self) -> ImageSets:
        """The sets of pictures that techniques can look at; make one of your own with `image_sets.create`."""
        return ImageSets(self._transport, give_up_after=self._give_up_after)

    def visualize(
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
    ) -> Run:
        """A run of a technique on a model; returns as soon as the server has accepted it.

        Args:
            technique: Its id.
            image: The picture to look at, where the technique looks at one.
            model: A name from `models`, or one that a source resolves.
            extra_images: Further pictures by role ("style").
            seed: Of every random number; the same request and seed give the same pixels.
            detach: The run goes on when nobody watches it, and is not cancelled a minute after the last one left.
            request_id: A UUID; the same id gives the same run, never a second one. Chosen where absent.
            labels: To find the run by.
            deadline: Seconds from acceptance to the end.
            previews: False for none, or a dict of `min_interval` (s), `max_edge` (px), `format`.
            max_restarts: How often it may start again when its worker is lost.
            media_types: What results are written as ("image/webp"), by plugins' artifact encoders; one for each kind.
            priority: "interactive" goes before your other runs, "batch" behind everybody's.
            cache: Whether an identical run may ("default"), must not ("bypass") or must ("only") stand for this one.
            updates: What changes on the way, and behind which step: `[(57, {"step_size": 0.5})]`. A run that was
                steered is repeated with its `RunInfo.updates`.
            **params: Parameters of the technique.
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
        return self._begun(submission, detach=detach)

    def attach(self, run_id: str, after_sequence: int = 0, *, every_preview: bool = False) -> Run:
        """Watch a run from any point of its log; `every_preview` leaves none out, however slow this watcher is.

        Raises:
            NotFound: no such run.
        """
        run = Run(self._transport, self._cursor(run_id, after_sequence), every_preview=every_preview)
        run.refresh()
        return run

    def run(self, run_id: str) -> RunInfo:
        """One run as it is now."""
        response = self._transport.unary(_methods.GET_RUN, _methods.GET_RUN.request(run=run_id))
        return _wire_catalog.run(response.run)

    def runs(
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
            page = self._transport.unary(_methods.LIST_RUNS, request)
            found += [_wire_catalog.run(item) for item in page.runs]
            if not page.next_page_token or (limit is not None and len(found) >= limit):
                return found[:limit]
            request.page_token = page.next_page_token

    def cancel(self, run_id: str) -> RunInfo:
        """Ask a run to end at its next step; gives it as it is then. An ended run stays as it is."""
        response = self._transport.unary(_methods.CANCEL_RUN, _methods.CANCEL_RUN.request(run=run_id))
        return _wire_catalog.run(response.run)

    def pause(self, run_id: str) -> RunInfo:
        """Take a run off its device, or out of the queue, until `resume`; gives it as it is then.

        Raises:
            FailedPrecondition: its technique keeps no checkpoints, or an identical run waits for it.
        """
        response = self._transport.unary(_methods.PAUSE_RUN, _methods.PAUSE_RUN.request(run=run_id))
        return _wire_catalog.run(response.run)

    def resume(self, run_id: str) -> RunInfo:
        """Let a paused run wait for a device again, where it goes on to the same bits; any other stays as it is."""
        response = self._transport.unary(_methods.RESUME_RUN, _methods.RESUME_RUN.request(run=run_id))
        return _wire_catalog.run(response.run)

    def update(self, run_id: str, /, **params: Any) -> RunInfo:
        """Change parameters of a run on the way: see `Run.update`; gives it as it is then."""
        response = self._transport.unary(_methods.UPDATE_RUN, _wire.update_request(run_id, params))
        return _wire_catalog.run(response.run)

    def delete(self, run_id: str) -> None:
        """Forget an ended run, its events and its results.

        Raises:
            FailedPrecondition: it is alive; cancel it first.
        """
        self._transport.unary(_methods.DELETE_RUN, _methods.DELETE_RUN.request(run=run_id))

    def upload(self, image: ImageLike) -> str:
        """Send a picture ahead, if the server does not have it, and give its digest: an `image` for many runs."""
        content = encode_image(image)
        digest = digest_of(content)
        deliver(self._transport, {digest: content})
        return digest

    def _begun(self, submission: Submission, *, detach: bool) -> Run:
        deliver(self._transport, submission.uploads)
        if detach:
            return Run(self._transport, self._cursor())._submit(submission.request)  # noqa: SLF001 - the run's maker
        return Run(self._transport, self._cursor(), submission=submission.request)._begin()  # noqa: SLF001 - likewise

    def _cursor(self, run_id: str = "", after_sequence: int = 0) -> Cursor:
        return Cursor(run_id, after_sequence, backoff=Backoff(self._give_up_after))


def list_request(
    state: RunState | None, technique: str, model: str, labels: Mapping[str, str] | None, limit: int | None
) -> _wire.ListRunsRequest:
    """The request for the first page of runs."""
    return _wire.ListRunsRequest(
        page_size=1000 if limit is None else max(1, min(limit, 1000)),
        state=_wire.to_run_state(state),
        technique=technique,
        model=model,
        labels=labels or {},
    )


def connect(
    target: str,
    *,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    timeout: float = 60.0,
    give_up_after: float = 300.0,
) -> Client:
    """A client of the server at `target` ("gpu-box:8470"). Nothing is sent before the first call.

    Args:
        target: "host:port"; the port is 8470 where it is left out. Or the name of a profile.
        token: Sent with every call; CONVSCOPE_TOKEN where absent, then what the server's profile says.
        ca: PEM file of the authority that signed the server's certificate, or "system" for those that the machine
            trusts; CONVSCOPE_CA where absent, then the profile's; without one there is no TLS.
        cert: PEM file of this client's own certificate, where the server asks for one.
        key: PEM file of its private key.
        timeout: Seconds that a call waits for its answer. Streams, uploads and loading a model may take longer.
        give_up_after: Seconds for which a broken connection is mended before `ConnectionLost`.

    Raises:
        InvalidArgument: the target is no address, or a token would travel in the clear.
    """
    address = Address.of(target, Access.of(token, ca, cert, key), timeout=timeout)
    return Client(GrpcTransport(address), give_up_after=give_up_after)


def embedded(
    *,
    techniques: Iterable[Any] = (),
    plugin_files: Iterable[str | os.PathLike[str]] = (),
    models_dir: str | os.PathLike[str] | None = None,
    image_sets_dir: str | os.PathLike[str] | None = None,
    devices: Iterable[str] = (),
) -> Client:
    """A client of a server inside this process: no port, no files, gone with the client.

    Args:
        techniques: `Technique`s to offer besides those of installed plugins.
        plugin_files: Loose plugin files to load.
        models_dir: Directory of models: NAME/model.toml each.
        image_sets_dir: Directory of image sets, a folder of pictures each.
        devices: To use ("cpu", "cuda:0"); every usable one where empty.

    Raises:
        FailedPrecondition: the server is not installed; the message says how.
    """
    from convscope._embedded import EmbeddedTransport, start_server

    server = start_server(
        techniques=techniques,
        plugin_files=plugin_files,
        models_dir=models_dir,
        image_sets_dir=image_sets_dir,
        devices=devices,
    )
    return Client(EmbeddedTransport(server))
