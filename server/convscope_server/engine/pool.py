"""What every engine keeps about its workers: who has which run, which models, whose turn it is to get one."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from convscope_server.engine.between_steps import MOVED, CheckParams, Steer, Suspend, Suspended
from convscope_server.engine.blame import Author, EncoderAuthor
from convscope_server.engine.engine import Catalog, EngineListener
from convscope_server.engine.messages import (
    Attained,
    Cancel,
    Command,
    DescribeImageSet,
    DescribeModel,
    DeviceStatus,
    Events,
    Hello,
    ImageSetDetail,
    ListModels,
    LoadedModel,
    LoadModel,
    ModelDetail,
    ModelInfo,
    Models,
    Offers,
    OfRun,
    OutOfMemory,
    PluginInfo,
    Reply,
    Report,
    RunSpec,
    Start,
    UnloadModel,
)
from convscope_server.engine.needs import Need, Needs, together
from convscope_server.engine.seat import Culprit, Link, Seat, SeatedRun
from convscope_server.errors import RequestError
from convscope_server.runs.events import CancelReason, Error, Started, is_terminal

__all__ = ["WorkerPool", "worker_lost"]

logger = logging.getLogger(__name__)

_LISTING_SECONDS = 2.0
_CROWD = 4  # times as many runs as take turns on a device, where each of the surplus is a principal's only one


class WorkerPool:
    """The `Engine` methods that do not depend on where workers live.

    Args:
        max_live_runs: Runs that take turns on one device.
        needs: What runs have been seen to need; learned anew where absent.
    """

    def __init__(self, max_live_runs: int, needs: Needs | None = None) -> None:
        self._needs = needs or Needs()
        self._seats: list[Seat] = []
        self._max_live_runs = max_live_runs
        self._catalog = Catalog()
        self._absent: tuple[PluginInfo, ...] = ()
        self._listener: EngineListener | None = None
        self._requests = itertools.count(1)

    @property
    def ready(self) -> bool:
        """Whether at least one worker takes runs."""
        return any(seat.ready for seat in self._seats)

    @property
    def catalog(self) -> Catalog:
        """What the workers offer; empty before `start`."""
        return self._catalog

    @property
    def listener(self) -> EngineListener:
        """Whom to tell."""
        assert self._listener is not None, "the engine has not been started"
        return self._listener

    def lane(self, technique: str) -> str:
        """The plugin that has workers of its own and brings the technique, or ""."""
        for seat in self._seats:
            if seat.lane and seat.hello and any(info.id == technique for info in seat.hello.techniques):
                return seat.lane
        return ""

    def try_start(self, spec: RunSpec) -> bool:
        """Hand a run to the least busy worker, one that holds its model if there is room there."""
        likeness, need = self._needs.likeness(spec), self._needs.of(spec)
        open_seats = [seat for seat in self._open_seats(spec) if _fits(seat, need)]
        if not open_seats:
            return False
        seat = min(open_seats, key=lambda s: (not s.holds(spec.model), len(s.runs)))
        seat.runs[spec.id] = SeatedRun(spec.technique, spec.owner, spec.media_types, likeness, need)
        self._post(seat, Start(spec))
        return True

    def waits_for_memory(self, spec: RunSpec) -> bool:
        """Whether a run that cannot start now could if runs beside it took less memory."""
        need = self._needs.of(spec)
        open_seats = self._open_seats(spec)
        return bool(open_seats) and not any(_fits(seat, need) for seat in open_seats)

    def _open_seats(self, spec: RunSpec) -> list[Seat]:
        """Those of its lane whose worker has a turn for it."""
        lane = self.lane(spec.technique)
        return [s for s in self._seats if s.lane == lane and s.ready and self._has_room(s, spec.owner)]

    def _has_room(self, seat: Seat, owner: str) -> bool:
        """Whether a run fits. Whoever has none there finds room beside others who fill it, within reason."""
        if len(seat.runs) < self._max_live_runs:
            return True
        within_reason = len(seat.runs) < _CROWD * self._max_live_runs
        return within_reason and all(run.owner != owner for run in seat.runs.values())

    def cancel(self, run: str, reason: CancelReason) -> bool:
        """End a run at its next step; False where no worker has it."""
        for seat in self._seats:
            if run in seat.runs and seat.ready:
                self._post(seat, Cancel(run, reason))
                return True
        return False

    def suspend(self, run: str) -> bool:
        """Put a run down at its next step; False where no worker has it."""
        for seat in self._seats:
            if run in seat.runs and seat.ready:
                self._post(seat, Suspend(run))
                return True
        return False

    async def steer(self, run: str, params: Mapping[str, Any]) -> None:
        """Change parameters of a run at its next step; returns once they hold."""
        for seat in self._seats:
            if run in seat.runs and seat.ready:
                await self._ask(seat, lambda number: Steer(number, run, dict(params)))
                return
        raise RequestError(MOVED)

    async def check_params(self, technique: str, params: Mapping[str, Any]) -> None:
        """Have a worker look at parameters."""
        lane = self.lane(technique)
        seat = next((seat for seat in self._seats if seat.lane == lane and seat.ready), None)
        if seat is not None:  # else they are looked at when the run goes on
            await self._ask(seat, lambda number: CheckParams(number, technique, dict(params)))

    async def load_model(self, model: str, device: str = "") -> tuple[str, LoadedModel]:
        """Bring a model onto a device, one that holds it already if there is one."""
        seat = min(self._ready_seats(device), key=lambda s: (not s.holds(model), len(s.models), len(s.runs)))
        reply = await self._ask(seat, lambda number: LoadModel(number, model))
        assert reply.loaded is not None
        return seat.name, reply.loaded

    async def unload_model(self, model: str, device: str = "") -> list[str]:
        """Take a model off its devices."""
        seats = self._ready_seats(device)
        replies = [await self._ask(seat, lambda number: UnloadModel(number, model)) for seat in seats]
        return [seat.name for seat, reply in zip(seats, replies, strict=True) if reply.done]

    async def describe_model(self, model: str) -> ModelDetail:
        """What is known of a model, loading it if need be."""
        seat = min(self._ready_seats(""), key=lambda s: (not s.holds(model), len(s.runs)))
        reply = await self._ask(seat, lambda number: DescribeModel(number, model))
        assert reply.detail is not None
        return reply.detail

    async def describe_image_set(self, image_set: str) -> ImageSetDetail:
        """What is known of an image set of the workers' sources."""
        seat = min(self._ready_seats(""), key=lambda s: len(s.runs))
        reply = await self._ask(seat, lambda number: DescribeImageSet(number, image_set))
        assert reply.image_set is not None
        return reply.image_set

    async def refresh_models(self) -> None:
        """Bring the catalog's models up to date; it stays as it was where no worker answers within seconds."""
        try:
            async with asyncio.timeout(_LISTING_SECONDS):
                await self._ask(self._ready_seats("")[0], ListModels)
        except (RequestError, TimeoutError) as error:
            logger.warning("models could not be listed anew: %s", error or "no answer")

    def devices(self) -> list[DeviceStatus]:
        """The devices and what is on them."""
        return [
            DeviceStatus(
                seat.name,
                "ready" if seat.ready else "starting",
                seat.pid,
                tuple(seat.runs),
                seat.models,
                seat.budget,
                seat.restarts,
            )
            for seat in self._seats
        ]

    def seat_worker(self, seat: Seat, link: Link, hello: Hello) -> None:
        """A worker has said hello: it can have runs from now on."""
        seat.link, seat.pid, seat.device = link, hello.pid, hello.device
        seat.budget, seat.hello = hello.model_budget_bytes, hello
        self._catalog = self._gathered()
        self.listener.room_changed()

    def _gathered(self) -> Catalog:
        """What the latest of the ordinary workers offers, and what plugins' own workers add to it."""
        hellos = [seat.hello for seat in self._seats if seat.hello and not seat.lane]
        own = [seat.hello for seat in self._seats if seat.hello and seat.lane]
        return Catalog(
            {info.id: info for hello in [*own, *hellos[-1:]] for info in hello.techniques},
            _by_name([info for hello in hellos[-1:] for info in hello.models]),
            {info.name: info for hello in hellos[-1:] for info in hello.image_sets},
            tuple(info for hello in [*hellos[-1:], *own] for info in hello.plugins) + self._absent,
            {info.media_type: info for hello in hellos[-1:] for info in hello.encoders},
        )

    def author_of(self, seat: Seat, run: str) -> Author | None:
        """Whose technique a run on the seat is; None where it is not there."""
        if run not in seat.runs:
            return None
        spec, known = seat.runs[run], self._catalog.encoders
        info = self._catalog.techniques.get(spec.technique)
        found = [known[media_type] for media_type in spec.media_types if media_type in known]
        encoders = [EncoderAuthor(encoder.media_type, encoder.package, encoder.version) for encoder in found]
        return Author(spec.technique, info.package if info else "", info.version if info else "", encoders)

    def empty_seat(self, seat: Seat, error: Error, *, culprit: Culprit | None = None) -> None:
        """A worker is gone: tell whose runs it had, and refuse whoever waits for a reply.

        All runs but the culprit did nothing to deserve it. They are told of last first, so that whoever puts each
        in front of the others keeps their order.
        """
        seat.link, seat.pid, seat.models = None, 0, ()
        runs, seat.runs = seat.runs, {}
        replies, seat.replies = seat.replies, {}
        for future in replies.values():
            if not future.done():
                future.set_exception(RequestError(error))
        for run, seated in reversed(runs.items()):
            self._needs.learn(seated.likeness, seated.taken)
            if culprit is not None and culprit.run == run:
                self.listener.run_lost(run, started=seated.started, error=culprit.error, blame=culprit.blame)
            else:
                self.listener.run_lost(run, started=seated.started, error=error, blame="none")

    def handle(self, seat: Seat, report: Report) -> None:
        """Take note of what a worker says."""
        match report:
            case Events() | Attained() | OutOfMemory() | Suspended():
                if report.run in seat.runs:
                    self._handle_of_run(seat, report)
                elif isinstance(report, Events):
                    logger.warning("worker of %s spoke of run %s, which it has not got", seat.device, report.run)
            case Reply(request=number):
                future = seat.replies.pop(number, None)
                if future is not None and not future.done():
                    future.set_result(report)
            case Models(models):
                seat.models = models
            case Offers(offered):
                self._catalog = msgspec.structs.replace(self._catalog, models=_by_name(offered))

    def _handle_of_run(self, seat: Seat, report: OfRun) -> None:
        match report:
            case Events():
                self._handle_events(seat, report)
            case Attained(run, seconds, held, peak):
                seat.runs[run].taken = seat.runs[run].taken.joined(Need(held, peak))
                self.listener.run_attained(run, seconds)
            case OutOfMemory(run):
                self._leave(seat, run)
                self.listener.run_out_of_memory(run)
                self.listener.room_changed()
            case Suspended(run, left):
                if left:
                    self._leave(seat, run)
                self.listener.run_suspended(run, left=left)
                self.listener.room_changed()

    def _handle_events(self, seat: Seat, report: Events) -> None:
        run = report.run
        if any(isinstance(event, Started) for event in report.events):
            seat.runs[run].started = True
        ended = any(is_terminal(event) for event in report.events)
        if ended:
            self._leave(seat, run)
        self.listener.run_events(run, report.events)
        if ended:
            self.listener.room_changed()

    def _leave(self, seat: Seat, run: str) -> None:
        """A run is off its worker; what it has taken is known for those like it."""
        seated = seat.runs.pop(run)
        self._needs.learn(seated.likeness, seated.taken)

    def _ready_seats(self, device: str) -> list[Seat]:
        seats = [s for s in self._seats if (s.name == device if device else not s.lane)]
        if not seats:
            raise RequestError.unknown("device", device, [s.name for s in self._seats])
        ready = [s for s in seats if s.ready]
        if not ready:
            raise RequestError.of("UNAVAILABLE", "NO_WORKER", "no worker is ready; try again in a few seconds")
        return ready

    async def _ask(self, seat: Seat, command: Callable[[int], Command]) -> Reply:
        number = next(self._requests)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        seat.replies[number] = future
        self._post(seat, command(number))
        reply = await future
        if reply.error is not None:
            raise RequestError(reply.error)
        return reply

    def _post(self, seat: Seat, command: Command) -> None:
        assert seat.link is not None
        seat.link.post(command)

    def _take_seats(self, devices: Iterable[str]) -> list[Seat]:
        seats = [Seat(device) for device in devices]
        self._seats += seats
        return seats


def _fits(seat: Seat, need: Need) -> bool:
    """Whether a run finds memory beside those of the seat. One that has the device to itself always does."""
    room = seat.hello.memory_bytes if seat.hello else 0
    if not room or not seat.runs:
        return True
    runs = together([need, *(run.need.joined(run.taken) for run in seat.runs.values())])
    return runs + sum(model.size_bytes for model in seat.models) <= room


def _by_name(models: Iterable[ModelInfo]) -> dict[str, ModelInfo]:
    return {info.name: info for info in models}


def worker_lost(device: str, why: str) -> Error:
    """The error of runs whose worker is gone."""
    return Error(
        "UNAVAILABLE",
        f"the worker of {device} {why} and was replaced; ask again, or set max_restarts to have runs start again "
        f"by themselves",
        "WORKER_LOST",
        {"device": device},
    )
