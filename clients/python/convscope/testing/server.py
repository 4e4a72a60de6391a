"""A server whose runs are scripts."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from convscope import _wire
from convscope._content import CHUNK_BYTES, digest_of
from convscope._methods import Message, admin, catalog, content, visualization
from convscope.aio import AsyncClient
from convscope.client import Client
from convscope.errors import AlreadyExists, ConvscopeError, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from convscope.testing.events import Event
from convscope.testing.fake_run import FakeRun
from convscope.testing.fake_sets import FakeSets
from convscope.testing.transport import AsyncFakeTransport, FakeTransport

__all__ = ["FakeServer"]

Script: TypeAlias = Sequence[Event] | Callable[[_wire.VisualizeRequest], Iterable[Event]]


class FakeServer:
    """A server whose runs are scripts.

    Attributes:
        content: Files by digest: what was uploaded, and what a script's large results point to.
        requests: Every request that came, in order, with the name of its call.
        cuts: After how many messages each stream breaks, one for each stream that is opened; then none does.
    """

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.requests: list[tuple[str, Message]] = []
        self.cuts: deque[int] = deque()
        self._techniques: dict[str, tuple[catalog.Technique, Script]] = {}
        self._models: dict[str, catalog.Model] = {}
        self._plugins: list[catalog.Plugin] = []
        self._runs: dict[str, FakeRun] = {}
        self._sets = FakeSets(self.content)
        self.add_model("efficientnet_lite0")

    def client(self, *, give_up_after: float = 300.0) -> Client:
        """A client of this server."""
        return Client(FakeTransport(self), give_up_after=give_up_after)

    def async_client(self, *, give_up_after: float = 300.0) -> AsyncClient:
        """A client of this server for an event loop."""
        return AsyncClient(AsyncFakeTransport(self), give_up_after=give_up_after)

    def add_technique(
        self,
        technique: str,
        script: Script,
        *,
        summary: str = "",
        params_schema: Mapping[str, Any] | None = None,
        needs: Iterable[str] = (),
        cites: str = "",
        extra_images: Mapping[str, str] | None = None,
        resumable: bool = False,
        steers: Iterable[str] = (),
    ) -> None:
        """Offer a technique whose runs tell `script`: events, or a function from the request to events."""
        message = catalog.Technique(
            id=technique,
            summary=summary,
            params_schema=json.dumps(params_schema or {"type": "object", "properties": {}}),
            needs=needs,
            cites=cites,
            package="tests",
            version="1",
            extra_images=extra_images,
            resumable=resumable,
            steers=steers,
            cacheable=True,
        )
        self._techniques[technique] = (message, script)

    def add_model(
        self,
        model: str,
        *,
        classes: Sequence[str] = (),
        layers: Sequence[tuple[str, str]] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        """Offer a model with layers of (name, kind)."""
        found = [catalog.Layer(name=name, kind=kind, output_shape=[8, 4, 4]) for name, kind in layers]
        detail = catalog.ModelDetail(classes=classes, layers=found, aliases=aliases, input_size=224)
        self._models[model] = catalog.Model(name=model, kind="classifier", source="fake", detail=detail)

    def add_plugin(self, name: str, *, reason: str = "") -> None:
        """List a plugin, as failed where it has a reason."""
        state = catalog.PLUGIN_STATE_FAILED if reason else catalog.PLUGIN_STATE_LOADED
        self._plugins.append(catalog.Plugin(name=name, package=name, version="1", state=state, reason=reason))

    def keep(self, event: Event) -> Event:
        """The result with its content moved to `content`, as a server does with large ones."""
        moved = Event()
        moved.CopyFrom(event)
        self.content[moved.result.digest] = moved.result.inline_content
        moved.result.ClearField("inline_content")
        return moved

    def sent(self, call: str) -> list[Any]:
        """The requests of one call that came so far."""
        return [request for name, request in self.requests if name == call]

    def unary(self, call: str, request: Message) -> Message:
        """The answer to a call without streams.

        Raises:
            ConvscopeError: what a server would refuse.
        """
        self.requests.append((call, request))
        answers: dict[str, Callable[[Any], Message]] = {
            "SubmitRun": lambda it: visualization.SubmitRunResponse(run=self._start(it.request).as_message()),
            "GetRun": lambda it: visualization.GetRunResponse(run=self._run(it.run).as_message()),
            "ListRuns": self._list_runs,
            "CancelRun": self._cancel_run,
            "PauseRun": self._pause_run,
            "ResumeRun": self._resume_run,
            "UpdateRun": self._update_run,
            "DeleteRun": self._delete_run,
            "ListTechniques": lambda _: catalog.ListTechniquesResponse(techniques=self._listed()),
            "GetTechnique": lambda it: catalog.GetTechniqueResponse(technique=self._technique(it.id)[0]),
            "ListModels": lambda _: catalog.ListModelsResponse(models=self._models.values()),
            "GetModel": lambda it: catalog.GetModelResponse(model=self._model(it.name)),
            "ListPlugins": lambda _: catalog.ListPluginsResponse(plugins=self._plugins),
            "FindMissing": lambda it: content.FindMissingResponse(digests=set(it.digests) - self.content.keys()),
            "LoadModel": lambda it: admin.LoadModelResponse(device=it.device or "cpu"),
            "UnloadModel": lambda _: admin.UnloadModelResponse(devices=["cpu"]),
            "ListDevices": lambda _: admin.ListDevicesResponse(
                devices=[admin.Device(name="cpu", state=admin.WORKER_STATE_READY)]
            ),
            **self._sets.answers(),
        }
        if call not in answers:
            raise ConvscopeError(f"the fake server has no {call}", code="UNIMPLEMENTED")
        return answers[call](request)

    def upload(self, call: str, requests: Iterable[Any]) -> Message:
        """Take in a file.

        Raises:
            InvalidArgument: its bytes are not what its digest says.
        """
        messages = list(requests)
        self.requests += [(call, message) for message in messages]
        whole = b"".join(message.chunk for message in messages)
        digest = digest_of(whole)
        if digest != messages[0].digest:
            raise InvalidArgument(f"these bytes are {digest}", reason="DIGEST_MISMATCH")
        self.content[digest] = whole
        return content.UploadResponse(digest=digest, size_bytes=len(whole))

    def stream(self, call: str, request: Message) -> Iterator[Message]:
        """The answer to a call that streams; broken off as `cuts` says.

        Raises:
            ConvscopeError: what a server would refuse, and Unavailable where the stream is cut.
        """
        self.requests.append((call, request))
        left = self.cuts.popleft() if self.cuts else None
        answers: dict[str, Callable[[Any], Iterator[Message]]] = {
            "Visualize": lambda it: self._start(it).follow(0),
            "WatchRun": lambda it: self._run(it.run).follow(it.after_sequence),
            "Download": self._download,
        }
        for count, message in enumerate(answers[call](request)):
            if count == left:
                raise Unavailable("the connection broke")
            yield message

    def _download(self, request: content.DownloadRequest) -> Iterator[Message]:
        if request.digest not in self.content:
            raise NotFound(f"no content {request.digest}", reason="CONTENT_NOT_FOUND")
        whole = self.content[request.digest]
        for start in range(request.offset, len(whole), CHUNK_BYTES):
            yield content.DownloadResponse(chunk=whole[start : start + CHUNK_BYTES], size_bytes=len(whole))

    def _start(self, request: _wire.VisualizeRequest) -> FakeRun:
        for run in self._runs.values():
            if request.request_id and run.request.request_id == request.request_id:
                if run.request != request:
                    raise AlreadyExists("this request id belongs to another request", reason="REQUEST_ID_REUSED")
                return run
        script = self._technique(request.technique)[1]
        self._model(request.model)
        run = FakeRun(request, script(request) if callable(script) else script)
        self._runs[run.id] = run
        return run

    def _run(self, run_id: str) -> FakeRun:
        if run_id not in self._runs:
            raise NotFound(f"no run {run_id!r}", reason="RUN_NOT_FOUND")
        return self._runs[run_id]

    def _technique(self, technique: str) -> tuple[catalog.Technique, Script]:
        if technique not in self._techniques:
            raise NotFound(f"no technique {technique!r}", reason="TECHNIQUE_NOT_FOUND")
        return self._techniques[technique]

    def _model(self, model: str) -> catalog.Model:
        if model not in self._models:
            raise NotFound(f"no model {model!r}", reason="MODEL_NOT_FOUND")
        return self._models[model]

    def _listed(self) -> list[catalog.Technique]:
        return [self._techniques[name][0] for name in sorted(self._techniques)]

    def _list_runs(self, request: visualization.ListRunsRequest) -> Message:
        found = [run.as_message() for run in reversed(self._runs.values()) if run.fits(request)]
        start, size = int(request.page_token or 0), request.page_size or 50
        following = str(start + size) if start + size < len(found) else ""
        return visualization.ListRunsResponse(runs=found[start : start + size], next_page_token=following)

    def _cancel_run(self, request: visualization.CancelRunRequest) -> Message:
        run = self._run(request.run)
        run.cancel()
        return visualization.CancelRunResponse(run=run.as_message())

    def _pause_run(self, request: visualization.PauseRunRequest) -> Message:
        run = self._run(request.run)
        technique = self._technique(run.request.technique)[0]
        if run.alive and not technique.resumable:
            raise FailedPrecondition(f"technique {technique.id} keeps no checkpoints", reason="RUN_NOT_RESUMABLE")
        run.pause()
        return visualization.PauseRunResponse(run=run.as_message())

    def _resume_run(self, request: visualization.ResumeRunRequest) -> Message:
        run = self._run(request.run)
        run.resume()
        return visualization.ResumeRunResponse(run=run.as_message())

    def _update_run(self, request: visualization.UpdateRunRequest) -> Message:
        run = self._run(request.run)
        if fixed := set(request.params.fields) - set(self._technique(run.request.technique)[0].steers):
            message = f"params.{min(fixed)}: cannot change on the way"
            raise InvalidArgument(message, reason="PARAM_NOT_STEERING")
        if not run.alive:
            raise FailedPrecondition(f"run {run.id} has ended", reason="RUN_ENDED")
        run.update(request)
        return visualization.UpdateRunResponse(run=run.as_message())

    def _delete_run(self, request: visualization.DeleteRunRequest) -> Message:
        if self._run(request.run).alive:
            raise FailedPrecondition(f"run {request.run} is alive; cancel it first", reason="RUN_ALIVE")
        del self._runs[request.run]
        return visualization.DeleteRunResponse()
