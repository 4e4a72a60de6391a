"""One live run: from its specification to its terminal event, a step at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from convscope_sdk.errors import TechniqueError
from convscope_sdk.inprocess import prepare
from convscope_sdk.isolation import RandomState
from convscope_sdk.loader import BUILTIN_PACKAGE
from convscope_sdk.state import Saved, State
from convscope_sdk.together import Together
from convscope_server.engine.between_steps import Suspended
from convscope_server.engine.messages import Attained, Cancel, OutOfMemory, Reply, RunSpec, ToRun
from convscope_server.runs.events import Cancelled, CancelReason, Error, Failed, Started
from convscope_server.worker.checkpoints import CheckpointLostError, Checkpoints
from convscope_server.worker.faults import fault
from convscope_server.worker.footprint import Footprint
from convscope_server.worker.litter import Litter
from convscope_server.worker.provenance import library_versions, provenance
from convscope_server.worker.rests import Rests
from convscope_server.worker.stepper import END, SILENCE, Stepper

if TYPE_CHECKING:
    from convscope_sdk.image_sets.catalog import ImageSets
    from convscope_sdk.inprocess import Prepared
    from convscope_sdk.loader import Loaded
    from convscope_sdk.network import Network
    from convscope_server.engine.blame import Author
    from convscope_server.worker.borrowed import BorrowedModels
    from convscope_server.worker.making import Making
    from convscope_server.worker.recorder import Recorder

__all__ = ["Job"]


class Job:
    """A run on a device.

    Attributes:
        attained: Device seconds taken before the turn under way.
        turn_began: When that was, on the performance counter.
        told: Of those, what the front end has been told of.
        held: Bytes by which its steps have made the process grow.
        footprint: What its steps have taken of the device's memory.
        litter: What its steps have left lying about.
        ended: Whether it is off the worker, its terminal event recorded, if it has come to one.
        put_down: Whether it has been kept, and is to leave the worker.
        random: Its random generators.
        wish: What it waits for, alone or together with other runs.
        wished_at: Since when, by the monotonic clock.
        has_wished: Whether it has ever waited so.
        cancel_reason: Set from any thread to have it cancelled at its next step.
    """

    def __init__(
        self,
        spec: RunSpec,
        loaded: Loaded,
        author: Author,
        recorder: Recorder,
        *,
        making: Making,
        checkpoints: Checkpoints,
        send: Callable[[Reply | Suspended], None],
        device: str,
        max_image_pixels: int,
        checkpoint_seconds: float = 0.0,
        shares: bool = False,
    ) -> None:
        self.spec = spec
        self.author = author
        self.attained = 0.0
        self.told = 0.0
        self.turn_began = time.perf_counter()
        self.held = 0
        self.footprint = Footprint()
        self.litter = Litter()
        self.ended = False
        self.put_down = False
        self.random = RandomState.seeded(spec.seed, device)
        self.wish: Together | None = None
        self.wished_at = 0.0
        self.has_wished = not shares
        self.cancel_reason: CancelReason | None = None
        self._shares = shares
        self._answer: tuple[Any, ...] | None = None
        self._batch = 1
        self._loaded = loaded
        self._recorder = recorder
        self._making = making
        self._max_image_pixels = max_image_pixels
        self._image_sets: ImageSets | None = None
        self._models: BorrowedModels | None = None
        self._yielded: object = SILENCE
        self._checkpoints = checkpoints
        self._device = device
        self._begun = False
        self._stepper = Stepper(loaded.technique, self._prepare, self.random, spec.seed, device)
        keep = partial(checkpoints.put, spec.id)
        self._rests = Rests(
            spec, self._stepper, recorder, put=keep, made_by=self._made_by, send=send, every=checkpoint_seconds
        )

    @property
    def culprit(self) -> Author:
        """Whose code was at work last in this turn: the technique's, or that of an encoder of its results."""
        return self._recorder.encoding or self.author

    @property
    def encoded_by_plugins(self) -> bool:
        """Whether code of further plugins writes its results."""
        return bool(self.spec.media_types)

    @property
    def used(self) -> float:
        """Device seconds taken so far, the turn under way included."""
        return self.attained + time.perf_counter() - self.turn_began

    @property
    def taken(self) -> Attained:
        """What it has taken so far, for the front end."""
        return Attained(self.spec.id, self.used, self.footprint.most_held, self.footprint.peak)

    @property
    def has_inner_batch(self) -> bool:
        """Whether its technique looks at as many pictures at once as there is memory for."""
        return "batch" in self._loaded.technique.params.model_fields

    @property
    def begun(self) -> bool:
        """Whether the technique's generator exists."""
        return self._begun

    @property
    def wanted_down(self) -> bool:
        """Whether it is to leave its worker, where it goes on later."""
        return self._rests.wanted_down

    @property
    def networks(self) -> Mapping[str, Network]:
        """The networks that it has on the device by name: none, or the one it looks into and those it asked for."""
        return {} if self._models is None else self._models.networks

    @property
    def stall_seconds(self) -> float:
        """Longest time one step may take."""
        return self._loaded.technique.stall_seconds

    @property
    def overdue(self) -> bool:
        """Whether the run's deadline has passed."""
        return self.spec.deadline is not None and time.time() >= self.spec.deadline

    def heed(self, command: ToRun) -> None:
        """Take note of what is wanted of it at its next step, from any thread."""
        if isinstance(command, Cancel):
            self.cancel_reason = command.reason
        else:
            self._rests.ask(command)

    def begin(self, models: BorrowedModels, image_sets: ImageSets) -> None:
        """Load the model, read the pictures, check the parameters; everything but the first step.

        Args:
            models: Where its networks come from; `give_back` returns them.
            image_sets: What it can look at.

        Raises:
            TechniqueError: any of them is refused.
        """
        spec, checkpoint, lost = self.spec, None, ""
        try:
            checkpoint = self._checkpoints.get(spec.checkpoint) if spec.checkpoint else None
        except CheckpointLostError as error:
            lost = str(error)
        self._recorder.send(Started(self._device, spec.attempt, 0 if checkpoint is None else checkpoint.step))
        params = self._loaded.technique.params.parse(spec.params)  # before a model is loaded in vain
        self._making.begin(params)
        self._models, self._image_sets = models, image_sets
        models.open(spec.model)
        if checkpoint is not None and checkpoint.made_by != self._made_by_now(checkpoint.made_by):
            checkpoint, lost = None, "it was made by another version of the technique, of a library or of a model"
        if checkpoint is None:
            self._rests.begin(self._introduce)
        else:
            self._rests.go_on(checkpoint, self._introduce)
        if lost:
            self._recorder.note(f"it starts from the beginning: {lost}")
        self._begun = True

    def _made_by_now(self, then: Mapping[str, Any]) -> dict[str, Any]:
        """What would make it now, with the models that it had then, where there are any of those names."""
        assert self._models is not None
        with suppress(TechniqueError):
            for name in then.get("models", ()):
                self._models.open(name)
        return self._made_by()

    def _made_by(self) -> dict[str, Any]:
        return {
            **self.author.metadata,
            "revision": self._loaded.revision,
            "libraries": library_versions(),
            "models": {name: network.digest for name, network in self.networks.items()},
            "device": self._device.partition(":")[0],
        }

    def _prepare(self, params: Mapping[str, Any], saved: Saved | None, arrived: Callable[[], None]) -> Prepared:
        assert self._models is not None
        spec, technique = self.spec, self._loaded.technique
        prepared = prepare(
            technique,
            self._models.open(spec.model),
            spec.image,
            extra_images=spec.extra_images,
            image_sets=self._image_sets,
            seed=spec.seed,
            params=params,
            max_pixels=self._max_image_pixels,
            open_model=self._models.open,
            checkpoint=None if saved else self._making.earlier(technique.params.parse(params)),
            saved=saved,
            taken_up=arrived,
        )
        return replace(prepared, run=replace(prepared.run, thrift=spec.thrift))

    def _introduce(self) -> None:
        prepared = self._stepper.prepared
        assert prepared is not None
        if prepared.input is not None:
            self._recorder.input(prepared.input)
        for note in prepared.notes:
            self._recorder.note(note)

    def must_be_looked_at_closely(self, jobs: Iterable[Job], *, ends: bool) -> bool:
        """Whether a write that counters miss could reach another of the jobs: now, or after this one where it ends.

        Looking reads every byte of the network. Our own techniques are read closely by our tests instead.
        """
        if self.author.package == BUILTIN_PACKAGE:
            return False
        return ends or any(other is not self and other.networks.keys() & self.networks for other in jobs)

    def note_opened(self, network: Network) -> None:
        """Say in the log what its reader should know of a network that the run has got."""
        if network.spec.random_weights:
            self._recorder.note(f"{network.name} has random weights: nothing in this picture was learned")

    def give_back(self) -> bool:
        """Return its networks; False where it has none."""
        models, self._models = self._models, None
        if models is None:
            return False
        models.give_back()
        return True

    def step(self) -> bool:
        """Take one step; False where the technique has ended. What it yielded waits for `record`.

        Raises:
            BaseException: whatever the technique raises.
        """
        self._recorder.encoding = None
        answer, self._answer, self.wish = self._answer, None, None
        yielded, rested = self._stepper.advance(answer), False
        while (isinstance(yielded, State) and not rested) or (isinstance(yielded, Together) and not self._shares):
            rested = rested or isinstance(yielded, State)  # states alone are steps too: others have their turns between
            if isinstance(yielded, State) and self._rests.rest():
                self.put_down = True
                return False
            yielded = self._stepper.advance(None)
        if isinstance(yielded, Together):
            self.wish, self.wished_at, self.has_wished = yielded, time.monotonic(), True
            return True
        self._yielded = yielded
        return yielded is not END

    def answer(self, answer: tuple[Any, ...] | None, *, together: int) -> None:
        """Fulfil its wish, with so many runs in one batch; None leaves it to the run itself, in its next step."""
        self.wish, self._answer = None, answer
        self._batch = max(self._batch, together)

    def record(self) -> None:
        """Put what the last step yielded into the log.

        Raises:
            TypeError: it is no event.
            TechniqueError: it is a model that cannot be kept.
            BaseException: what drawing an event raised.
        """
        yielded, self._yielded = self._yielded, SILENCE
        if not (yielded is END or yielded is SILENCE):
            for event in self._making.keep(yielded):
                self._recorder.record(event)

    def close(self) -> None:
        """Close the technique's generator: its `finally` blocks run now. Names that it claimed are free again.

        Raises:
            BaseException: whatever they raise.
        """
        self._making.release()
        self._rests.end()
        self.wish = self._answer = None
        self._stepper.close()

    def forget(self) -> None:
        """Hear nothing any more: whoever asked for something while it was closed is answered."""
        self._rests.end()

    def succeed(self, device: str) -> None:
        """Record the end of a run whose technique has ended."""
        self.ended = True
        facts = provenance(self.spec, self._stepper.run, self.networks, self.author, self._rests.updates)
        if self._batch > 1:
            facts["batch"] = self._batch

        def otherwise(error: BaseException) -> Failed:
            return Failed(fault(error, self.author, run=self.spec.id, device=device))

        self._recorder.succeed(facts, otherwise)

    def leave(self) -> None:
        """Leave the worker without an end, since its device ran out of memory: said behind all that was recorded."""
        self.ended = True
        self._recorder.say(OutOfMemory(self.spec.id))

    def suspend(self) -> None:
        """Leave the worker without an end, to go on later."""
        self.ended = True
        self._recorder.say(Suspended(self.spec.id))

    def fail(self, error: Error) -> None:
        """Record the end of a run that failed."""
        self.ended = True
        self._recorder.end(Failed(error))

    def cancel(self, reason: CancelReason) -> None:
        """Record the end of a run that was stopped."""
        self.ended = True
        self._recorder.end(Cancelled(reason))
