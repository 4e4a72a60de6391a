"""The contract between runs and the place where workers live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from convscope_server.engine.messages import (
    DeviceStatus,
    EncoderInfo,
    ImageSetDetail,
    ImageSetInfo,
    LoadedModel,
    ModelDetail,
    ModelInfo,
    PluginInfo,
    RunSpec,
    TechniqueInfo,
)
from convscope_server.runs.events import CancelReason, Error, Event

__all__ = ["Blame", "Catalog", "Engine", "EngineListener"]

Blame = Literal["none", "suspected", "certain"]
"""Whether a run took its worker down: it was not its turn; it was, but somebody else may have; it did."""


class Catalog(msgspec.Struct, frozen=True):
    """What the workers offer."""

    techniques: dict[str, TechniqueInfo] = {}
    models: dict[str, ModelInfo] = {}
    image_sets: dict[str, ImageSetInfo] = {}
    plugins: tuple[PluginInfo, ...] = ()
    encoders: dict[str, EncoderInfo] = {}

    def is_resumable(self, technique: str) -> bool:
        """Whether runs of a technique can be put down and taken up."""
        return technique in self.techniques and self.techniques[technique].resumable


class EngineListener(Protocol):
    """Whom the engine tells what happens to runs. Called on the event loop, in order for each run."""

    def run_events(self, run: str, events: Sequence[Event]) -> None:
        """Entries for a run's log. At most one terminal event ever comes for a run."""

    def run_attained(self, run: str, seconds: float) -> None:
        """The device seconds that a run has taken so far, in the attempt that is under way."""

    def run_out_of_memory(self, run: str) -> None:
        """The device ran out of memory in a step of the run, which is off its worker: it may start again, once."""

    def run_suspended(self, run: str, *, left: bool) -> None:
        """The run was put down and is off its worker; or has not `left`, since no checkpoint could be kept."""

    def run_lost(self, run: str, *, started: bool, error: Error, blame: Blame) -> None:
        """The run's worker is gone. `started`: whether the run had begun; if not, it may simply be started again."""

    def room_changed(self) -> None:
        """A worker may have room for another run."""


class Engine(Protocol):
    """Workers, one for each device. All methods are called on the event loop."""

    async def start(self, listener: EngineListener) -> None:
        """Start every worker; returns when at least one is ready.

        Raises:
            RequestError: no worker could be started.
        """

    async def close(self) -> None:
        """Stop every worker now; their live runs are told nothing."""

    @property
    def ready(self) -> bool:
        """Whether at least one worker takes runs."""

    @property
    def catalog(self) -> Catalog:
        """What the workers offer; empty before `start`. Models that runs make come into it by themselves."""

    async def refresh_models(self) -> None:
        """Bring the catalog's models up to date with what lies in folders and at other sources.

        Never fails: where no worker answers within seconds, the catalog stays as it was.
        """

    def lane(self, technique: str) -> str:
        """Which workers its runs go to: "" for most, a plugin's name where it has workers of its own.

        A full lane holds up nobody in another.
        """

    def try_start(self, spec: RunSpec) -> bool:
        """Hand a run to a worker whose device has its model, or room for it; False where every worker is full."""

    def waits_for_memory(self, spec: RunSpec) -> bool:
        """Whether a run that cannot start now could if runs beside it took less memory."""

    def cancel(self, run: str, reason: CancelReason) -> bool:
        """End a run at its next step; False where no worker has it."""

    def suspend(self, run: str) -> bool:
        """Put a run whose technique is resumable down at its next step; False where no worker has it."""

    async def steer(self, run: str, params: Mapping[str, Any]) -> None:
        """Change parameters of a run at its next step; returns once they hold.

        Raises:
            RequestError: the technique refuses them, and the run goes on as it was; UNAVAILABLE, RUN_MOVED: the run
                is on no worker, or has left it.
        """

    async def check_params(self, technique: str, params: Mapping[str, Any]) -> None:
        """Have a worker look at parameters without a run, where one is there.

        Raises:
            RequestError: the technique refuses them.
        """

    async def load_model(self, model: str, device: str = "") -> tuple[str, LoadedModel]:
        """Bring a model onto a device; gives the device and what it takes there.

        Raises:
            RequestError: unknown model or device, or it cannot be loaded.
        """

    async def unload_model(self, model: str, device: str = "") -> list[str]:
        """Take a model off; gives the devices that it was on.

        Raises:
            RequestError: a live run uses it.
        """

    async def describe_model(self, model: str) -> ModelDetail:
        """What is known of a model, loading it if need be.

        Raises:
            RequestError: unknown model, or it cannot be loaded.
        """

    async def describe_image_set(self, image_set: str) -> ImageSetDetail:
        """What is known of an image set of the workers' sources.

        Raises:
            RequestError: unknown set, or it cannot be had.
        """

    def devices(self) -> list[DeviceStatus]:
        """The devices and what is on them."""
