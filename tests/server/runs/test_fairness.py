"""One heavy and nine light principals on one device: queue, engine and turns as they are, with a clock of our own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from convscope_server.engine.messages import Command, Events, Hello, RunSpec
from convscope_server.engine.pool import WorkerPool
from convscope_server.priority import WEIGHT
from convscope_server.runs.events import Report, Succeeded
from convscope_server.runs.ledger import Ledger
from convscope_server.runs.live import LiveRun
from convscope_server.runs.queue import RunQueue
from convscope_server.worker.turns import Turns
from support.listening import Listening
from support.run_house import request

LIGHT = tuple(f"light{number}" for number in range(9))


@dataclass(frozen=True, order=True)
class Arrival:
    """A run that comes at a time, and takes so many steps of so many seconds."""

    time: float
    owner: str
    steps: int
    seconds: float


@dataclass(eq=False)
class Job:
    spec: RunSpec
    arrival: Arrival
    live: LiveRun
    attained: float = 0.0
    done: int = 0


class Ear:
    def post(self, command: Command) -> None:
        pass


class Pool(WorkerPool):
    """An engine of one device."""

    def __init__(self) -> None:
        super().__init__(max_live_runs=8)
        self._listener = Listening()
        (self.seat,) = self._take_seats(["cpu"])
        self.seat_worker(self.seat, Ear(), Hello("cpu", 1, (), (), ()))


class Appender:
    ending = False


class House:
    """A server that computes nothing: a step is the time that it takes."""

    def __init__(self, arrivals: list[Arrival]) -> None:
        self.now = 0.0
        self._coming = sorted(arrivals, reverse=True)
        self._ledger = Ledger(lambda: self.now)
        self._queue = RunQueue(self._ledger, now=lambda: self.now)
        self._pool, self._turns = Pool(), Turns()
        self._arrivals: dict[str, Arrival] = {}
        self._jobs: dict[str, Job] = {}
        self.seconds: Counter[str] = Counter()
        self.waits: dict[str, list[float]] = {}

    def run(self, until: float) -> None:
        while self.now < until and (self._coming or self._jobs):
            self._take_in()
            self._dispatch()
            job = self._turns.next(self._jobs.values())
            if job is None:
                self.now = self._coming[-1].time
            else:
                self._step(job)

    def _take_in(self) -> None:
        while self._coming and self._coming[-1].time <= self.now:
            arrival = self._coming.pop()
            name, account = f"{len(self._arrivals)}", self._ledger[arrival.owner]
            self._arrivals[name] = arrival
            nothing: Any = Appender()  # stands for a log and an appender
            live = LiveRun(name, request(owner=arrival.owner), arrival.time, nothing, nothing, account)
            self._queue.push(live)

    def _dispatch(self) -> None:
        while (live := self._queue.first(lambda _: True)) is not None:
            self._queue.remove(live)
            live.on_engine = True
            spec = RunSpec(live.id, "t", "m", {}, owner=live.request.owner)
            if not self._pool.try_start(spec):
                live.on_engine = False
                self._queue.put_back(live)
                return
            self._jobs[live.id] = Job(spec, self._arrivals[live.id], live)

    def _step(self, job: Job) -> None:
        owner, seconds = job.spec.owner, job.arrival.seconds
        self.now += seconds
        job.attained += seconds
        job.done += 1
        self._turns.took(job, seconds)
        self._ledger.took(owner, seconds, WEIGHT["normal"])
        self.seconds[owner] += seconds
        if job.done == job.arrival.steps:
            job.live.on_engine = False
            del self._jobs[job.spec.id]
            self._pool.handle(self._pool.seat, Events(job.spec.id, (Succeeded(Report()),)))
            self.waits.setdefault(owner, []).append(self.now - job.arrival.time)


def flood(runs: int) -> list[Arrival]:
    """Somebody sends all their work at once: long runs of 50 ms steps."""
    return [Arrival(0.0, "heavy", 400, 0.05) for _ in range(runs)]


def test_device_seconds_are_shared_evenly_while_all_want_them() -> None:
    lights = [Arrival(0.1 * n, name, 40, 0.03) for n, name in enumerate(LIGHT) for _ in range(20)]
    house = House(flood(50) + lights)
    house.run(until=150.0)
    shares = [house.seconds[owner] for owner in ("heavy", *LIGHT)]
    assert sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares)) >= 0.99


def test_light_principals_hardly_notice_a_heavy_one() -> None:
    lights = [
        Arrival(0.37 * n + 2.3 * turn, name, 4, 0.03) for n, name in enumerate(LIGHT) for turn in range(20)
    ]  # half of the device's time
    alone, beside = House(lights), House(flood(50) + lights)
    alone.run(until=60.0)
    beside.run(until=60.0)
    assert sum(len(beside.waits[name]) for name in LIGHT) == len(lights)
    assert p95(beside) <= 2 * p95(alone)
    assert beside.seconds["heavy"] >= 0.4 * beside.now


def p95(house: House) -> float:
    waits = sorted(wait for name in LIGHT for wait in house.waits[name])
    return waits[int(0.95 * len(waits))]
