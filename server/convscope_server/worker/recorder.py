"""Turns what a technique yields into entries of its run's log."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

import msgspec
from PIL import Image

from convscope_sdk import events as sdk
from convscope_sdk.render import Rendered, Renderer, preview_picture
from convscope_sdk.state import State
from convscope_server.allowance import Allowance
from convscope_server.engine.between_steps import Suspended
from convscope_server.engine.blame import EncoderAuthor
from convscope_server.engine.messages import Events, OutOfMemory, PreviewOptions, Reply
from convscope_server.runs.events import (
    Artifact,
    Cancelled,
    Checkpointed,
    Event,
    Failed,
    Note,
    Prediction,
    Preview,
    Progress,
    Report,
    Result,
    Succeeded,
)
from convscope_server.worker.encode import preview_artifact, result_artifact

if TYPE_CHECKING:
    from convscope_sdk.loader import LoadedEncoder

__all__ = ["Recorder"]

_WAITING = 32
_LARGEST = 256 * 2**20
_MOST_RESULTS = 4096
_MOST_NOTES = 256
_LONGEST_NOTE = 4096
# Progress beyond that is for nobody: the newest comes with the next thing that happens.
_PROGRESS_BURST = 500
_PROGRESS_PER_SECOND = 50


class Recorder:
    """The log of one run, written in order by one encoder.

    `record` copies what the technique may change after its next step; drawing, PNG and hashing are the encoder's.
    It waits only where the encoder is far behind.

    Args:
        run: Its id.
        previews: How previews are made.
        send: Where entries go.
        encoder: What draws and encodes.
        encoders: Plugins' encoders that write results in place of the host, by kind.

    Attributes:
        encoding: Whose encoder has written something since it was last set to None.
    """

    def __init__(
        self,
        run: str,
        previews: PreviewOptions,
        send: Callable[[Events | OutOfMemory | Suspended | Reply], None],
        encoder: Executor,
        encoders: Mapping[sdk.ResultKind, LoadedEncoder] | None = None,
    ) -> None:
        self.encoding: EncoderAuthor | None = None
        self._encoders = encoders or {}
        self._run = run
        self._previews = previews
        self._send = send
        self._encoder = encoder
        self._room = threading.BoundedSemaphore(_WAITING)
        self._input: Image.Image | None = None
        self._renderer = Renderer()
        self._began = time.monotonic()
        self._last_preview = -float("inf")
        self._step = 0
        self._scores: dict[str, float] = {}
        self._notes: list[str] = []
        self._predictions: tuple[Prediction, ...] = ()
        self._results: dict[str, str] = {}
        self._failure: BaseException | None = None
        self._recorded = 0
        self._progress_allowed = Allowance(_PROGRESS_BURST, _PROGRESS_PER_SECOND)
        self._held_back: Progress | None = None

    def send(self, *events: Event) -> None:
        """Put finished entries into the log, after everything recorded before."""
        if self._held_back is not None:
            events, self._held_back = (self._held_back, *events), None
        self._encoder.submit(self._send, Events(self._run, events))

    def say(self, word: OutOfMemory | Suspended | Reply) -> None:
        """Say, after everything recorded before, that the run leaves its worker, and why; or that a change holds."""
        self._encoder.submit(self._send, word)

    @property
    def step(self) -> int:
        """The newest step recorded."""
        return self._step

    def keep(self, write: Callable[[dict[str, Any]], str]) -> Future[bool]:
        """Have a checkpoint written after everything recorded before, which counts once the log has it.

        Args:
            write: From what has been told, as plain values, to its key; "" where it could not be written.

        Returns:
            Whether it was.
        """
        self.send()
        step, predictions = self._step, [msgspec.to_builtins(one) for one in self._predictions]
        told: dict[str, Any] = {
            "step": step, "scores": dict(self._scores), "notes": list(self._notes), "predictions": predictions,
            "recorded": self._recorded, "seconds": time.monotonic() - self._began,
        }  # fmt: skip

        def work() -> bool:
            key = "" if self._failure else write({**told, "results": dict(self._results)})
            if key:
                self._send(Events(self._run, (Checkpointed(step, key),)))
            return bool(key)

        return self._encoder.submit(work)

    def go_on(self, told: Mapping[str, Any], picture: Image.Image | None) -> None:
        """Be where another recorder of the run was; the picture that the network sees is told already."""
        self._step, self._recorded = told["step"], told["recorded"]
        self._scores, self._notes, self._results = dict(told["scores"]), list(told["notes"]), dict(told["results"])
        self._predictions = tuple(msgspec.convert(one, Prediction) for one in told["predictions"])
        self._began = time.monotonic() - told["seconds"]
        if picture is not None:
            self._input, self._renderer = picture, Renderer(picture)

    def input(self, picture: Image.Image) -> None:
        """Keep the picture that the network sees: result "input", and the ground of overlays."""
        self._input = picture
        self._renderer = Renderer(picture)
        # To the bit, whatever other pictures are written as: results are recomputed from it.
        self._later(self._encode_input, sdk.Image("input", picture, "what the network saw"), 0)

    def record(self, event: object) -> None:
        """Take over one thing that the technique yielded.

        Raises:
            TypeError: it is no event.
            ValueError: it is larger than a result may be, or one of too many.
            BaseException: what drawing an earlier event raised; the run cannot succeed any more.
        """
        if self._failure is not None:
            raise self._failure
        match event:
            case sdk.Progress():
                self._step = int(event.step)
                self._tell_progress(self._progress(event))
            case sdk.Preview():
                self._maybe_preview(event)
            case sdk.Note():
                self.note(event.text)
            case sdk.Scores():
                self._scores.update({name: float(value) for name, value in event.values.items()})
            case sdk.Predictions():
                self._predictions = tuple(Prediction(int(i), str(n), float(p)) for i, n, p in event.items)
            case sdk.Image() | sdk.Heatmap() | sdk.ImageGrid() | sdk.Tensor() | sdk.Table() | sdk.Text():
                self._count()
                self._later(self._encode_result, _own(event), self._step)
            case State():  # where it could be put down
                pass
            case _:
                raise TypeError(f"a technique yields events of convscope_sdk, not {type(event).__name__}")

    def note(self, text: str) -> None:
        """Add a note to the log and to the report, once."""
        text = str(text)[:_LONGEST_NOTE]
        if text not in self._notes and len(self._notes) < _MOST_NOTES:
            self._notes.append(text)
            self.send(Note(text))

    def succeed(self, provenance: Mapping[str, Any], otherwise: Callable[[BaseException], Failed]) -> None:
        """End the log well, or with `otherwise` where something recorded could not be drawn."""

        def end() -> None:
            if self._failure is not None:
                self._send(Events(self._run, (otherwise(self._failure),)))
                return
            facts = {**provenance, "results": dict(self._results)}
            if self._encoders:
                facts["encoders"] = {e.encoder.media_type: f"{e.package} {e.version}" for e in self._encoders.values()}
            report = Report(self._scores, tuple(self._notes), facts, self._predictions)
            self._send(Events(self._run, (Succeeded(report),)))

        self.send()
        self._encoder.submit(end)

    def end(self, event: Failed | Cancelled) -> None:
        """End the log."""
        self.send(event)

    def _tell_progress(self, progress: Progress) -> None:
        self._held_back = None
        if self._progress_allowed.take():
            self.send(progress)
        else:
            self._held_back = progress

    def _count(self) -> None:
        self._recorded += 1
        if self._recorded > _MOST_RESULTS:
            raise ValueError(f"a run makes at most {_MOST_RESULTS} results; put small ones into one Table or ImageGrid")

    def _progress(self, event: sdk.Progress) -> Progress:
        eta = None
        if event.total and event.step:
            eta = (time.monotonic() - self._began) / event.step * (event.total - event.step)
        metrics = {name: float(value) for name, value in event.metrics.items()}
        return Progress(int(event.step), int(event.total), metrics, eta)

    def _maybe_preview(self, event: sdk.Preview) -> None:
        now = time.monotonic()
        if self._previews.none or now - self._last_preview < self._previews.min_interval:
            return
        self._last_preview = now
        self._later(self._encode_preview, _own(event), self._step)

    def _later(self, encode: Callable[[Any, int], None], event: Any, step: int) -> None:
        self._room.acquire()

        def work() -> None:
            try:
                if self._failure is None:
                    encode(event, step)
            except Exception as error:  # noqa: BLE001 - the technique's picture; told when the run ends
                self._failure = error
            finally:
                self._room.release()

        self._encoder.submit(work)

    def _encode_preview(self, event: sdk.Preview, step: int) -> None:
        picture = preview_picture(event, self._input)
        artifact = preview_artifact(picture, self._previews, caption=event.caption, step=step)
        self._send(Events(self._run, (Preview(artifact),)))

    def _encode_input(self, event: sdk.Result, step: int) -> None:
        self._keep([result_artifact(rendered, step=step) for rendered in self._renderer.render(event)])

    def _encode_result(self, event: sdk.Result, step: int) -> None:
        self._keep([self._encoded(rendered, step) for rendered in self._renderer.render(event)])

    def _encoded(self, rendered: Rendered, step: int) -> Artifact:
        by = self._encoders.get(rendered.kind)
        if by is not None:
            self.encoding = EncoderAuthor(by.encoder.media_type, by.package, by.version)
        return result_artifact(rendered, step=step, by=by)

    def _keep(self, artifacts: list[Artifact]) -> None:
        for artifact in artifacts:
            _check_size(artifact.size_bytes, artifact.name)
        self._results.update({f"{a.kind}:{a.name}": a.digest for a in artifacts})
        self._send(Events(self._run, tuple(Result(a) for a in artifacts)))


def _own(event: Any) -> Any:
    """The event with arrays of its own, since the technique goes on writing to its buffers.

    Raises:
        ValueError: they are larger than a result may be.
    """
    _check_size(sum(map(_size, (getattr(event, field.name) for field in dataclasses.fields(event)))), event)
    changes = {}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if isinstance(value, list | tuple) and value and _is_array(value[0]):
            changes[field.name] = [_copy(item) for item in value]
        elif _is_array(value):
            changes[field.name] = _copy(value)
    return dataclasses.replace(event, **changes) if changes else event


def _check_size(size: int, what: object) -> None:
    if size > _LARGEST:
        name = getattr(what, "name", what if isinstance(what, str) else type(what).__name__)
        raise ValueError(f"{name!r} holds {size / 2**20:.0f} MiB; a result or preview has at most {_LARGEST >> 20}")


def _size(value: Any) -> int:
    """Bytes of an array, or of all in a list."""
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    if isinstance(value, str):
        return len(value)
    return int(value.nbytes) if _is_array(value) and hasattr(value, "nbytes") else 0


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and hasattr(value, "shape")


def _copy(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach()
        return value.clone() if value.device.type == "cpu" else value.cpu()
    return value.copy()
