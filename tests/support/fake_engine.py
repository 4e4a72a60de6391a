"""An engine without workers: tests say what happens to each run, by hand or by a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from convscope_server.engine.engine import Blame, Catalog, EngineListener
from convscope_server.engine.messages import DeviceStatus, ImageSetDetail, LoadedModel, ModelDetail, ModelInfo, RunSpec
from convscope_server.errors import RequestError
from convscope_server.images.content import digest_of
from convscope_server.runs.events import (
    Artifact,
    Cancelled,
    CancelReason,
    Error,
    Event,
    Preview,
    Progress,
    Report,
    Result,
    Started,
    Succeeded,
    is_terminal,
)

__all__ = ["LOST", "FakeEngine", "Script", "artifact", "steps"]

Script = Callable[[RunSpec], AsyncGenerator[Event, None]]

LOST = Error("UNAVAILABLE", "the worker of device cpu died", "WORKER_LOST")


class FakeEngine:
    """Takes at most `capacity` runs at a time.

    With a `script`, each run's events come from it, one by one; a cancelled run's script is closed. Without one,
    runs stay where they are until the test calls `emit` or `lose`.

    Attributes:
        started: Every RunSpec taken, in order.
        cancelled: Every cancel asked for, whether or not the run was there.
        runs: The runs on it now.
        details: What `describe_model` knows, by model.
        image_sets: What `describe_image_set` knows, by name.
        loaded: What `load_model` has loaded, by model.
        large: Techniques whose runs need the device to themselves.
        arriving: Models that the next `refresh_models` finds, by name.
        steered: Every change asked for, with its run.
        refusing: What `steer` and `check_params` raise, if anything.
    """

    def __init__(self, *, capacity: int = 4, script: Script | None = None, catalog: Catalog | None = None) -> None:
        self.capacity = capacity
        self.started: list[RunSpec] = []
        self.cancelled: list[tuple[str, CancelReason]] = []
        self.runs: dict[str, RunSpec] = {}
        self.details: dict[str, ModelDetail] = {}
        self.image_sets: dict[str, ImageSetDetail] = {}
        self.loaded: dict[str, LoadedModel] = {}
        self.large: set[str] = set()
        self.arriving: dict[str, ModelInfo] = {}
        self.steered: list[tuple[str, dict[str, Any]]] = []
        self.refusing: RequestError | None = None
        self._script = script
        self._catalog = catalog or Catalog()
        self._listener: EngineListener | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, listener: EngineListener) -> None:
        """Ready at once."""
        self._listener = listener

    async def close(self) -> None:
        """Live runs are told nothing."""
        self._listener = None
        self.runs.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def ready(self) -> bool:
        """Between `start` and `close`."""
        return self._listener is not None

    @property
    def catalog(self) -> Catalog:
        """As given; empty before `start`."""
        return self._catalog if self.ready else Catalog()

    async def refresh_models(self) -> None:
        """Take over what `arriving` holds."""
        self._catalog = msgspec.structs.replace(self._catalog, models={**self._catalog.models, **self.arriving})

    def lane(self, technique: str) -> str:
        """One for all, but for techniques called "lane.something"."""
        lane, dot, _ = technique.partition(".")
        return lane if dot else ""

    def try_start(self, spec: RunSpec) -> bool:
        """Take the run where there is room."""
        lane = self.lane(spec.technique)
        if self.waits_for_memory(spec):
            return False
        if not self.ready or sum(self.lane(r.technique) == lane for r in self.runs.values()) >= self.capacity:
            return False
        self.runs[spec.id] = spec
        self.started.append(spec)
        if self._script is not None:
            self._tasks[spec.id] = asyncio.create_task(self._play(self._script, spec))
        return True

    def waits_for_memory(self, spec: RunSpec) -> bool:
        """For those in `large`, while another run is here."""
        return spec.technique in self.large and bool(self.runs) and len(self.runs) < self.capacity

    def cancel(self, run: str, reason: CancelReason) -> bool:
        """Stop the script, if any; the run ends Cancelled at the next turn of the loop."""
        self.cancelled.append((run, reason))
        if run not in self.runs:
            return False
        if task := self._tasks.pop(run, None):
            task.cancel()
        asyncio.get_running_loop().call_soon(self.emit, run, Cancelled(reason))
        return True

    def suspend(self, run: str) -> bool:
        """Stop the script, if any; the run is off the engine at the next turn of the loop."""
        if run not in self.runs:
            return False
        if task := self._tasks.pop(run, None):
            task.cancel()
        asyncio.get_running_loop().call_soon(self.put_down, run)
        return True

    def put_down(self, run: str, *, left: bool = True) -> None:
        """Say that a run was put down, or could not be."""
        if self._listener is not None and run in self.runs:
            if left:
                del self.runs[run]
            self._listener.run_suspended(run, left=left)
            self._listener.room_changed()

    async def steer(self, run: str, params: Mapping[str, Any]) -> None:
        """Taken at once, unless `refusing`."""
        if self.refusing is not None:
            raise self.refusing
        self.steered.append((run, dict(params)))

    async def check_params(self, technique: str, params: Mapping[str, Any]) -> None:
        """Fine, unless `refusing`."""
        if self.refusing is not None:
            raise self.refusing

    async def load_model(self, model: str, device: str = "") -> tuple[str, LoadedModel]:
        """Any model of the catalog."""
        if model not in self.catalog.models:
            raise RequestError.unknown("model", model, self.catalog.models)
        self.loaded[model] = LoadedModel(model, size_bytes=1024)
        return device or "cpu", self.loaded[model]

    async def unload_model(self, model: str, device: str = "") -> list[str]:
        """Refused while a run uses it."""
        if any(spec.model == model for spec in self.runs.values()):
            raise RequestError.of("FAILED_PRECONDITION", "MODEL_IN_USE", f"a live run uses {model}")
        return [device or "cpu"] if self.loaded.pop(model, None) else []

    async def describe_model(self, model: str) -> ModelDetail:
        """From `details`."""
        if model not in self.details:
            raise RequestError.unknown("model", model, self.details)
        return self.details[model]

    async def describe_image_set(self, image_set: str) -> ImageSetDetail:
        """From `image_sets`."""
        if image_set not in self.image_sets:
            raise RequestError.unknown("image set", image_set, self.image_sets)
        return self.image_sets[image_set]

    def devices(self) -> list[DeviceStatus]:
        """One device, "cpu"."""
        state = "ready" if self.ready else "starting"
        models = tuple(self.loaded.values())
        return [DeviceStatus("cpu", state=state, pid=1, runs=tuple(self.runs), models=models)]

    def emit(self, run: str, *events: Event) -> None:
        """Events of a run; the last one may end it. Nothing where the run is not here any more."""
        if run not in self.runs or self._listener is None:
            return
        over = any(is_terminal(event) for event in events)
        if over:
            self._forget(run)
        self._listener.run_events(run, events)
        if over and self._listener is not None:
            self._listener.room_changed()

    def lose(self, run: str, *, started: bool, error: Error = LOST, blame: Blame = "suspected") -> None:
        """The run's worker dies."""
        assert self._listener is not None
        if task := self._tasks.get(run):
            task.cancel()
        self._forget(run)
        self._listener.run_lost(run, started=started, error=error, blame=blame)
        self._listener.room_changed()

    def run_out(self, run: str) -> None:
        """The device runs out of memory in a step of the run."""
        assert self._listener is not None
        self._forget(run)
        self._listener.run_out_of_memory(run)
        self._listener.room_changed()

    def _forget(self, run: str) -> None:
        self.runs.pop(run, None)
        self._tasks.pop(run, None)

    async def _play(self, script: Script, spec: RunSpec) -> None:
        async with aclosing(script(spec)) as events:
            async for event in events:
                self.emit(spec.id, event)


def artifact(name: str = "", content: bytes = b"picture", *, step: int = 0) -> Artifact:
    """A small picture that claims to be a PNG."""
    return Artifact(name, "image", "image/png", content, digest_of(content), len(content), step=step)


def steps(total: int = 3, *, seconds: float = 0.0, content: bytes = b"picture") -> Script:
    """A script: Started, `total` times progress and a preview, one result, Succeeded."""

    async def script(spec: RunSpec) -> AsyncGenerator[Event, None]:
        yield Started("cpu", spec.attempt)
        for step in range(1, total + 1):
            await asyncio.sleep(seconds)
            yield Progress(step, total)
            yield Preview(artifact(step=step))
        yield Result(artifact("saliency", content))
        yield Succeeded(Report(scores={"steps": float(total)}))

    return script
