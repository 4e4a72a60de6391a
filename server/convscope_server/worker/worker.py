"""The only place where techniques run: one device, one thread, many runs taking turns."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

from convscope_sdk.isolation import ModeGuard
from convscope_server.engine.between_steps import MOVED, CheckParams, Steer, Suspend
from convscope_server.engine.blame import Author
from convscope_server.engine.mark import TurnMark
from convscope_server.engine.messages import (
    Cancel,
    Command,
    DescribeImageSet,
    DescribeModel,
    Hello,
    ListModels,
    LoadModel,
    Models,
    Offers,
    Ping,
    Pong,
    Reply,
    Report,
    RunSpec,
    Shutdown,
    Start,
    ToRun,
    Unfit,
    UnloadModel,
)
from convscope_server.errors import RequestError, looked_up
from convscope_server.runs.events import Error, Failed
from convscope_server.worker.administration import administer
from convscope_server.worker.batching import Batching, default_batch
from convscope_server.worker.borrowed import BorrowedModels
from convscope_server.worker.checkpoints import Checkpoints
from convscope_server.worker.encode import encoders_for
from convscope_server.worker.encoder import Inline, encoder_for, thread_of_its_own
from convscope_server.worker.faults import broken, fault, is_out_of_memory, leak, litter, overdue, spoils_device
from convscope_server.worker.footprint import Gauge
from convscope_server.worker.inspection import Inspector
from convscope_server.worker.job import Job
from convscope_server.worker.making import Making
from convscope_server.worker.memory import default_run_memory
from convscope_server.worker.recorder import Recorder
from convscope_server.worker.turns import Turns
from convscope_server.worker.watchdog import StepEndedError, Watchdog

if TYPE_CHECKING:
    from convscope_sdk.network import Network
    from convscope_server.worker.workshop import Workshop

__all__ = ["Worker"]

logger = logging.getLogger(__name__)

_TELL_EVERY = 0.5  # device seconds


class Worker:
    """Steps the runs of one device, in turns that share it between principals and between each one's runs.

    Args:
        workshop: The device with its techniques and models.
        send: Where reports go; called from several threads.
        shared: Whether the process has another user (`convscope.embedded`), whose random numbers must not be
            touched between steps.
        mark: Where whoever owns the process reads whose turn it is.
    """

    def __init__(
        self,
        workshop: Workshop,
        send: Callable[[Report], None],
        *,
        shared: bool = False,
        mark: TurnMark | None = None,
    ) -> None:
        self._shop = workshop
        self._send = send
        self._shared = shared
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._jobs: dict[str, Job] = {}
        self._turns = Turns()
        self._lock = threading.Lock()
        self._inspector = Inspector(workshop.cache.reload, shared=shared)
        device, options = str(workshop.device), workshop.options
        self._encoder = encoder_for(device)
        self._gauge = Gauge(device)
        self._watchdog = Watchdog(send, self._gauge, options.max_run_memory_bytes or default_run_memory(device))
        self._batching = Batching(options.max_batch or default_batch(device), device)
        self._mark = mark
        self._checkpoints = Checkpoints(options.checkpoints_dir, spare=options.min_free_bytes)
        self._clerk = thread_of_its_own("convscope-clerk")
        self._random_owner: Job | None = None
        self._loaded: tuple[object, ...] = ()

    def hello(self) -> Hello:
        """What this worker offers."""
        return self._shop.hello(os.getpid())

    def post(self, command: Command) -> None:
        """Take a command, from any thread.

        A cancel is seen before the next step; a ping and a wish for the models are answered whatever the step does.
        """
        if isinstance(command, Ping):
            self._send(Pong())
            return
        if isinstance(command, ListModels):
            with suppress(RuntimeError):  # the worker has ended
                self._clerk.submit(self._list, command.request)
            return
        if not (isinstance(command, ToRun) and self._heeded(command)):
            self._inbox.put(command)

    def _heeded(self, command: ToRun) -> bool:
        with self._lock:
            job = self._jobs.get(command.run)
            if job is None or job.ended:  # which may be on its way here again
                return False
            job.heed(command)
        return True

    def run(self, *, until_idle: bool = False) -> None:
        """Work until told to shut down, or until nothing is left to do. Torch is used from this thread alone.

        A worker runs once.
        """
        modes = ModeGuard(self._shop.device)
        self._watchdog.start()
        self._report_models()
        try:
            while self._take_commands(wait=not until_idle):
                if job := self._turns.next(self._jobs.values()):
                    self._turn(self._batching.instead_of(job, self._jobs.values()), modes)
        finally:
            self._watchdog.stop()
            for job in list(self._jobs.values()):
                self._close(job)
            self._encoder.shutdown(wait=True)
            self._clerk.shutdown(wait=True)

    def _take_commands(self, *, wait: bool) -> bool:
        """Carry out what lies in the inbox, waiting while there is nothing else to do; False to stop."""
        while True:
            try:
                command = self._inbox.get(block=wait and not self._jobs)
            except queue.Empty:
                return wait or bool(self._jobs)
            if isinstance(command, Shutdown):
                return False
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Start(spec):
                self._admit(spec)
            case LoadModel() | UnloadModel() | DescribeModel() | DescribeImageSet() | CheckParams():
                self._send(administer(self._shop, command))
                self._report_models()
            case Cancel() | Suspend() | Steer():  # it came before its run had, or after its end
                if not self._heeded(command) and isinstance(command, Steer):
                    self._send(Reply(command.request, error=MOVED))

    def _admit(self, spec: RunSpec) -> None:
        recorder = Recorder(spec.id, spec.previews, self._send, self._encoder)
        try:
            loaded = looked_up("technique", spec.technique, self._shop.techniques)
            if encoders := encoders_for(spec.media_types, self._shop.encoders):
                # Plugins' encoders work in turn with the steps, under the same watch.
                recorder = Recorder(spec.id, spec.previews, self._send, Inline(), encoders)
        except RequestError as refusal:
            recorder.end(Failed(refusal.error))
            return
        author = Author(spec.technique, loaded.package, loaded.version)
        making = Making(self._shop.shelf, spec, self._offer)
        shares = loaded.technique.batchable and self._batching.most > 1
        pixels = self._shop.options.max_image_pixels
        job = Job(
            spec,
            loaded,
            author,
            recorder,
            making=making,
            checkpoints=self._checkpoints,
            send=self._send,
            device=str(self._shop.device),
            max_image_pixels=pixels,
            checkpoint_seconds=self._shop.options.checkpoint_seconds,
            shares=shares,
        )
        with self._lock:
            self._jobs[spec.id] = job

    def _turn(self, job: Job, modes: ModeGuard) -> None:
        """One step of one run, or a pass for several, and everything that must hold after it."""
        sharing: list[Job] = []
        job.turn_began = time.perf_counter()
        with self._watched(job):
            if job.cancel_reason is not None:
                self._stop(job, modes, lambda: job.cancel(job.cancel_reason or "requested"))
            elif job.overdue:
                self._stop(job, modes, lambda: job.fail(overdue(job.attained)))
            elif job.wanted_down and not job.begun:
                job.suspend()
            elif sharing := self._batching.met_by(job, self._jobs.values()):
                self._share(sharing, modes)
            else:
                self._step(job, modes)
                self._account(job, job.used - job.attained)
        for each in sharing or [job]:
            if each.ended:
                self._forget(each)

    def _account(self, job: Job, seconds: float) -> None:
        self._turns.took(job, seconds)
        job.attained, job.turn_began = job.attained + seconds, time.perf_counter()
        if job.attained - job.told > _TELL_EVERY and not job.ended:
            job.told = job.attained
            self._send(job.taken)

    @contextmanager
    def _watched(self, job: Job) -> Iterator[None]:
        """Within it is the run's turn: it may neither last nor take too much, and if the worker dies, it is the one."""
        with ExitStack() as watch:
            if self._mark is not None:
                self._mark.enter(job.spec.id)
                watch.callback(self._mark.leave)
            if self._inspector.watches_litter(job):
                watch.enter_context(job.litter.watching())
            # Loading a model is the server's own step, not the technique's.
            held = job.held if job.begun else None
            watch.enter_context(self._watchdog.watching(job.spec.id, self._stall_seconds(job), held))
            if held is not None and not self._batching.met_by(job, self._jobs.values()):  # else it is that of several
                watch.enter_context(self._gauge.measuring(job.footprint))
            yield
            if held is not None:
                job.held = max(0, held + self._watchdog.grown)

    def _share(self, jobs: list[Job], modes: ModeGuard) -> None:
        with self._watchdog.interruptible():
            self._batching.share(jobs)
        leaks = self._inspector.leaks(jobs[0], self._jobs.values(), modes, thorough=False)
        seconds = (jobs[0].used - jobs[0].attained) / len(jobs)
        for job in jobs:
            if leaks:
                self._finish(job, partial(job.fail, leak(job.author, leaks)))
            self._account(job, seconds)
        if leaks:
            self._inspector.mend(jobs[0], modes)

    def _step(self, job: Job, modes: ModeGuard) -> None:
        try:
            goes_on = self._advance(job)
        except BaseException as error:  # noqa: BLE001 - a plugin's exception, SystemExit included, ends its run only
            self._fail(job, error, modes)
            return
        if verdict := self._watchdog.verdict:  # it went on although it was told to end
            self._finish(job, lambda: job.fail(broken(verdict, job.author, run=job.spec.id)))
            self._inspector.mend(job, modes)
        elif leaks := self._inspector.leaks(job, self._jobs.values(), modes, thorough=not goes_on):
            self._finish(job, lambda: job.fail(leak(job.author, leaks)))
            self._inspector.mend(job, modes)
        elif goes_on:
            self._record(job, modes)
        elif job.put_down:
            self._finish(job, job.suspend)
        elif left := self._inspector.litter(job):
            job.fail(litter(job.author, left))
        else:
            self._finish(job, lambda: job.succeed(str(self._shop.device)))

    def _record(self, job: Job, modes: ModeGuard) -> None:
        plugins_write = job.encoded_by_plugins
        try:
            with self._watchdog.interruptible() if plugins_write else nullcontext():
                job.record()
        except (Exception, StepEndedError) as error:  # noqa: BLE001 - it yielded no event, or one that cannot be drawn
            self._fail(job, error, modes)
        else:
            if plugins_write and self._watchdog.verdict:  # an encoder went on although it was told to end
                self._fail(job, StepEndedError(), modes)

    def _advance(self, job: Job) -> bool:
        """Begin the run, or take its next step, with its own random numbers; False at its end."""
        if self._shared:
            with job.random.swapped_in():
                return self._moved(job)
        if self._random_owner is not job:
            if self._random_owner is not None:
                self._random_owner.random.capture()
            job.random.install()
            self._random_owner = job
        return self._moved(job)

    def _moved(self, job: Job) -> bool:
        if not job.begun:
            job.begin(self._models_for(job), self._shop.image_sets_of(job.spec))
            return True
        with self._watchdog.interruptible():
            return job.step()

    def _stop(self, job: Job, modes: ModeGuard, record: Callable[[], None]) -> None:
        """End a run that its technique did not end, and clean up after it if its `finally` blocks did not."""
        self._finish(job, record)
        if leaks := [
            *self._inspector.leaks(job, self._jobs.values(), modes, thorough=True),
            *self._inspector.litter(job),
        ]:
            logger.warning("run %s: %s left %s when it was closed", job.spec.id, job.author, ", ".join(leaks))
            self._inspector.mend(job, modes)

    def _fail(self, job: Job, error: BaseException, modes: ModeGuard) -> None:
        if is_out_of_memory(error) and self._may_try_again(job):
            self._finish(job, job.leave)
        else:
            found = self._error(job, error)
            self._finish(job, lambda: job.fail(found))
        if spoils_device(error):
            self._send(Unfit())
        else:
            self._inspector.mend(job, modes)

    def _may_try_again(self, job: Job) -> bool:
        """Whether less memory at a time, or nobody beside it, may let a run succeed; once."""
        return job.spec.thrift == 1 and (job.has_inner_batch or len(self._jobs) > 1)

    def _error(self, job: Job, error: BaseException) -> Error:
        if verdict := self._watchdog.verdict:
            return broken(verdict, job.culprit, run=job.spec.id)
        return fault(error, job.author, run=job.spec.id, device=str(self._shop.device))

    def _finish(self, job: Job, record: Callable[[], None]) -> None:
        """Close the generator, then record the end, with what it has cost."""
        self._send(job.taken)
        if (error := self._close(job)) is not None:
            job.fail(self._error(job, error))
        else:
            record()

    def _close(self, job: Job) -> BaseException | None:
        try:
            with self._watchdog.interruptible():
                job.close()
        except BaseException as error:  # noqa: BLE001 - the technique's own clean-up code
            return error
        return None

    def _models_for(self, job: Job) -> BorrowedModels:
        """Where the run gets its networks: each is guarded before the run sees it."""

        def acquire(name: str) -> Network:
            # Only the models that a technique asks for are loaded within a step of its own.
            with self._watchdog.not_counting() if job.begun else nullcontext():
                return self._shop.cache.acquire(name)

        def opened(network: Network) -> None:
            self._inspector.guard(network)
            job.note_opened(network)
            self._report_models()

        return BorrowedModels(acquire, self._shop.cache.release, opened)

    def _forget(self, job: Job) -> None:
        with self._lock:
            del self._jobs[job.spec.id]
        job.forget()
        if self._random_owner is job:
            self._random_owner = None
        if job.give_back():
            self._report_models()

    def _report_models(self) -> None:
        loaded = self._shop.cache.loaded()
        if loaded != self._loaded:
            self._loaded = loaded
            self._send(Models(loaded))

    def _offer(self) -> None:
        self._send(Offers(tuple(self._shop.registry.entries())))

    def _list(self, request: int) -> None:
        self._offer()
        self._send(Reply(request, done=True))

    def _stall_seconds(self, job: Job) -> float:
        limit = self._shop.options.stall_seconds or job.stall_seconds
        return limit if job.begun else max(limit, self._shop.options.start_seconds)
