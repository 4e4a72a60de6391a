"""The default engine: one spawned worker process for each device, replaced when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets

import msgspec

from convscope_server.engine.blame import crashed, overgrown, stalled
from convscope_server.engine.engine import EngineListener
from convscope_server.engine.messages import Hello, Overgrown, Ping, PluginInfo, Pong, Stalled, Unfit
from convscope_server.engine.needs import Needs
from convscope_server.engine.options import WorkerOptions, own_version
from convscope_server.engine.pool import WorkerPool, worker_lost
from convscope_server.engine.process import WorkerProcess
from convscope_server.engine.seat import Culprit, Seat
from convscope_server.errors import RequestError
from convscope_server.runs.events import Error

__all__ = ["LocalEngine"]

logger = logging.getLogger(__name__)

_PING_EVERY = 5.0
# A step that holds the interpreter lock blocks even the watchdog; then only this patience ends it.
_SILENCE_LIMIT = 180.0
_HEALTHY_AFTER = 10.0
_LONGEST_BACKOFF = 30.0


class LocalEngine(WorkerPool):
    """Workers as processes of this machine: a crash in one is nobody else's.

    Args:
        options: How they are set up.
        needs: What runs have been seen to need; learned anew where absent.
    """

    def __init__(self, options: WorkerOptions, needs: Needs | None = None) -> None:
        super().__init__(options.max_live_runs, needs)
        self._options = options
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, listener: EngineListener) -> None:
        """Start a worker for each device, and one for each plugin with a Python of its own.

        Returns when the first is ready, and each plugin's own is, or has turned out not to be of use.
        """
        self._listener = listener
        (first,) = self._take_seats(self._options.devices[:1] or ("",))
        hello: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self._keep(first, hello)
        others = self._options.devices[1:]
        if not self._options.devices:
            others = tuple(d for d in (await hello).all_devices if d != first.device)
        for seat in self._take_seats(others):
            self._keep(seat)
        await hello
        await self._start_environments(first.device)

    async def _start_environments(self, device: str) -> None:
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[Hello]] = []
        for environment in self._options.environments:
            seat = Seat(environment.device or device, environment)
            self._seats.append(seat)
            waiting.append(loop.create_future())
            self._keep(seat, waiting[-1])
        for environment, answer in zip(self._options.environments, waiting, strict=True):
            try:
                await answer
            except RequestError as refusal:
                self._absent += (PluginInfo(environment.plugin, "", "", str(refusal)),)
                self._catalog = self._gathered()

    async def close(self) -> None:
        """Stop every worker now; their live runs are told nothing."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def _keep(self, seat: Seat, hello: asyncio.Future[Hello] | None = None) -> None:
        keeper = asyncio.create_task(self._keep_seated(seat, hello))
        keeper.add_done_callback(lambda task: _tell(task, hello))
        self._keepers.append(keeper)

    async def _keep_seated(self, seat: Seat, hello: asyncio.Future[Hello] | None) -> None:
        """Have a worker on the device as long as the engine lives."""
        backoff = 0.2
        while True:
            began = asyncio.get_running_loop().time()
            error = await self._serve_one(seat, hello)
            if hello is not None and not hello.done():
                hello.set_exception(RequestError(error))
                return
            healthy = asyncio.get_running_loop().time() - began > _HEALTHY_AFTER
            backoff = 0.2 if healthy else min(2 * backoff, _LONGEST_BACKOFF)
            await asyncio.sleep(backoff)
            seat.restarts += 1

    async def _spawned(self, seat: Seat) -> WorkerProcess:
        if seat.environment is None:
            return await WorkerProcess.spawn(self._options, seat.device)
        options = msgspec.structs.replace(self._options, only_plugin=seat.lane, warm_models=())
        return await WorkerProcess.spawn(options, seat.device, seat.environment.python)

    async def _serve_one(self, seat: Seat, hello: asyncio.Future[Hello] | None) -> Error:
        """One worker from its start to its end; why it ended."""
        process = await self._spawned(seat)
        supervisor = _Supervisor(process, self._options.start_seconds)
        nurse = asyncio.create_task(supervisor.watch())
        try:
            async for report in process.reports():
                supervisor.heard()
                if isinstance(report, Hello):
                    _check(seat, report)
                    supervisor.greeted = True
                    self.seat_worker(seat, process, report)
                    if hello is not None and not hello.done():
                        hello.set_result(report)
                elif isinstance(report, Stalled | Overgrown | Unfit):
                    supervisor.put_down(report)
                elif not isinstance(report, Pong):
                    self.handle(seat, report)
            why = await process.ended()
            culprit = self._culprit(seat, process, supervisor.verdict, why)
            error = _lost(seat, why, "" if supervisor.greeted else process.output.tail)
            self.empty_seat(seat, error, culprit=culprit)
        except asyncio.CancelledError:
            await process.stop()
            raise
        except RequestError as unfit:
            process.kill()
            await process.ended()
            return unfit.error
        else:
            return error
        finally:
            process.close()
            nurse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await nurse

    def _culprit(
        self, seat: Seat, process: WorkerProcess, verdict: Stalled | Overgrown | Unfit | None, why: str
    ) -> Culprit | None:
        """Who took the worker down, and what the log has of it."""
        run = verdict.run if isinstance(verdict, Stalled | Overgrown) else process.mark.run
        author, reference = self.author_of(seat, run), secrets.token_hex(4)
        device = seat.device or "the first device"
        during = f" during a step of run {run}, {author}" if author else ""
        said = f"; it said last:\n{process.output.tail}" if process.output.tail else ""
        logger.error("worker of %s %s%s, reference %s: %s%s", device, why, during, reference, verdict or "died", said)
        if author is None or isinstance(verdict, Unfit):
            return None
        if isinstance(verdict, Stalled):
            return Culprit(run, stalled(author, verdict.seconds, reference))
        if isinstance(verdict, Overgrown):
            return Culprit(run, overgrown(author, verdict.held, verdict.limit, reference))
        # Whom an operator or the out-of-memory killer hits, happened to be there.
        return Culprit(run, crashed(author, device, why, reference), "suspected" if process.killed else "certain")


def _check(seat: Seat, hello: Hello) -> None:
    """Refuses a plugin's own worker that is of no use.

    Raises:
        RequestError: says what to do in its environment.
    """
    if seat.environment is None:
        return
    python, ours = seat.environment.python, own_version()
    if hello.version != ours:
        problem = f"has convscope {hello.version}, this server is {ours}; pip install convscope=={ours} there"
    elif not hello.plugins:
        problem = f"has no plugin {seat.lane!r}: neither a distribution nor an entry point is called that"
    else:
        return
    raise RequestError.of("FAILED_PRECONDITION", "ENVIRONMENT_UNFIT", f"the environment of {python} {problem}")


def _lost(seat: Seat, why: str, said: str) -> Error:
    """The error of runs, or of a plugin whose own worker did not get ready and `said` why."""
    if seat.environment is None or not said:
        return worker_lost(seat.name or "the first device", why)
    message = f"its worker, run by {seat.environment.python}, {why} before it was ready: {said.splitlines()[-1]}"
    return Error("FAILED_PRECONDITION", message, "ENVIRONMENT_UNFIT")


def _tell(keeper: asyncio.Task[None], hello: asyncio.Future[Hello] | None) -> None:
    """A keeper ends only when it is cancelled; anything else is our bug, and whoever waits must not wait for ever."""
    if keeper.cancelled() or (error := keeper.exception()) is None:
        return
    logger.critical("a worker can no longer be kept", exc_info=error)
    if hello is not None and not hello.done():
        hello.set_exception(error)


class _Supervisor:
    """Kills a worker that stalls, says nothing for too long, or never says hello."""

    def __init__(self, process: WorkerProcess, start_seconds: float) -> None:
        self._process = process
        self._start_seconds = start_seconds
        self._clock = asyncio.get_running_loop().time
        self._heard_at = self._clock()
        self.greeted = False
        self.verdict: Stalled | Overgrown | Unfit | None = None

    def heard(self) -> None:
        self._heard_at = self._clock()

    def put_down(self, verdict: Stalled | Overgrown | Unfit) -> None:
        """A step took more than it may and did not end when told to: only the process can be stopped."""
        self.verdict = self.verdict or verdict
        logger.error("worker %d is replaced: %s", self._process.pid, verdict)
        self._process.kill()

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(_PING_EVERY)
            self._process.post(Ping())
            limit = _SILENCE_LIMIT if self.greeted else self._start_seconds
            if self._clock() - self._heard_at > limit:
                logger.error("worker %d has been silent for %.0f s", self._process.pid, limit)
                self._process.kill()
