"""What many watchers cost the device, and how late they see what happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks.harness import Server, scratch, wait_until
from benchmarks.result import Measure, Result, median, percentile
from benchmarks.ticking import TICKING

import convscope
from convscope import aio

RUNS = 10
WATCHERS = 50
LATENCY_BOUND = 0.050
SPEED_BOUND = 0.95


def run(*, quick: bool = False) -> Result:
    """Ten runs in turns on one device, watched by nobody and by fifty, one after the other, several times over."""
    rounds, steps = (1, 20) if quick else (5, 50)
    alone: list[float] = []
    watched: list[float] = []
    latencies: list[float] = []
    ours: list[float] = []
    theirs: list[float] = []
    flags = "--devices", "cpu", "--plugin", TICKING
    with (
        scratch() as data,
        Server(data, *flags, max_live_runs=RUNS, drain_grace=1) as server,
        convscope.connect(server.address) as client,
    ):
        _seconds(client, _begin(client, 5))
        for _ in range(rounds):
            runs = _begin(client, steps)
            began = _worked(server)
            alone.append(_seconds(client, runs))
            unwatched = _worked(server) - began
            runs = _begin(client, steps)
            began, began_here = _worked(server), time.process_time()
            latencies += asyncio.run(_watch_all(server.address, runs))
            theirs.append(time.process_time() - began_here)
            watched.append(_seconds(client, runs))
            ours.append(_worked(server) - began - unwatched)
    speeds = [before / beside for before, beside in zip(alone, watched, strict=True)]
    measures = (
        Measure("p99 from yield to watcher", percentile(latencies, 99), LATENCY_BOUND, "s"),
        Measure("speed with 50 watchers / without", median(speeds), SPEED_BOUND, at_least=True),
    )
    details = {
        "p50": percentile(latencies, 50),
        "events": len(latencies),
        "step": median(alone) / (RUNS * steps),
        "alone": median(alone),
        "watched": median(watched),
        "CPU of the front end per event and watcher": median(ours) / (WATCHERS * steps),
        "CPU of a watcher per event": median(theirs) / (WATCHERS * steps),
    }
    return Result("watchers", measures, details)


def _worked(server: Server) -> float:
    """CPU seconds of the front end so far, which tell more than times where other programs run beside."""
    times = server.process.cpu_times()
    return times.user + times.system


def _begin(client: convscope.Client, steps: int) -> list[str]:
    runs = [client.visualize("bench.tick", steps=steps, seed=seed, cache="bypass", detach=True) for seed in range(RUNS)]
    return [run.id for run in runs]


def _seconds(client: convscope.Client, runs: Sequence[str]) -> float:
    """Time from the first run's start to the last one's end, by the server's clock."""
    wait_until(lambda: all(client.run(run).end_time is not None for run in runs), seconds=600, every=0.5)
    found = [client.run(run) for run in runs]
    starts = [info.start_time for info in found if info.start_time is not None]
    ends = [info.end_time for info in found if info.end_time is not None]
    return (max(ends) - min(starts)).total_seconds()


async def _watch_all(address: str, runs: Sequence[str]) -> list[float]:
    """Fifty clients on as many connections, five to a run; how late each step reached each, in seconds."""
    each = await asyncio.gather(*(_watch(address, runs[number % len(runs)]) for number in range(WATCHERS)))
    return [late for seen in each for late in seen]


async def _watch(address: str, run: str) -> list[float]:
    began = time.time()
    async with aio.connect(address) as client:
        steps = [
            (time.time(), event.progress.metrics["yielded"])
            async for event in await client.attach(run)
            if event.progress is not None
        ]
    # What was yielded before this watcher came is replayed: no news, and not late.
    return [seen - yielded for seen, yielded in steps if yielded > began + 1]
