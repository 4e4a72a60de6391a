"""Whether a server that works all day grows."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass

import psutil
from benchmarks.harness import Server, photograph, serving, wait_until
from benchmarks.inprocess import default_network
from benchmarks.result import Measure, Result

import convscope
from convscope_techniques.attribution.grad_cam import grad_cam
from convscope_techniques.synthesis.deepdream import deepdream

RUNS, WARM_UP = 1000, 100
GROWTH_MB = 50.0
POOL = 10  # the store opens at most five connections, two files each, as it needs them


@dataclass(frozen=True, slots=True)
class State:
    """What a server holds: resident MB, open files and threads of its two processes."""

    front_mb: float
    worker_mb: float
    files: int
    threads: int


def run(*, quick: bool = False) -> Result:
    """Growth of both processes from the 100th to the 1,000th small run; files, threads and hooks left."""
    total, warm_up = (60, 20) if quick else (RUNS, WARM_UP)
    with serving() as (server, client):
        digest, worker = client.upload(photograph()), server.worker
        _work(client, digest, warm_up)
        before = _state(server, worker, client)
        _work(client, digest, total - warm_up)
        # Sockets and threads of the last connections take a moment to go; what leaks stays.
        wait_until(lambda: _held(_state(server, worker, client)) <= _held(before), seconds=15)
        after = _state(server, worker, client)
    measures = (
        Measure("front end's growth", after.front_mb - before.front_mb, GROWTH_MB, "MB"),
        Measure("worker's growth", after.worker_mb - before.worker_mb, GROWTH_MB, "MB"),
        Measure("open files and threads left", _held(after) - _held(before), POOL, ""),
        Measure("tasks left", _tasks_left(5 if quick else 50), 0, ""),
        Measure("hooks left", _hooks_left(), 0, ""),
    )
    details = {"front_mb": after.front_mb, "worker_mb": after.worker_mb, "files": after.files, "threads": after.threads}
    return Result("memory", measures, details)


def _held(state: State) -> int:
    return state.files + state.threads


def _work(client: convscope.Client, digest: str, runs: int) -> None:
    """Small runs of several kinds, some of them stopped on the way."""
    for number in range(runs):
        match number % 4:
            case 0:
                client.visualize("grad_cam", image=digest, size=64, cache="bypass").result()
            case 1:
                client.visualize("saliency", image=digest, size=64, cache="bypass").result()
            case 2:
                client.visualize("filters", k=8, cache="bypass").result()
            case 3:
                run = client.visualize("deepdream", image=digest, size=64, octaves=1, steps=50, cache="bypass")
                next(event for event in run if event.kind == "progress")
                run.cancel()
                list(run)


def _state(server: Server, worker: psutil.Process, client: convscope.Client) -> State:
    wait_until(lambda: not any(device.runs for device in client.devices()))
    front = server.process
    megabytes = [process.memory_info().rss / 2**20 for process in (front, worker)]
    threads = front.num_threads() + worker.num_threads()
    return State(megabytes[0], megabytes[1], front.num_fds() + worker.num_fds(), threads)


def _tasks_left(runs: int) -> int:
    """Asyncio tasks that runs and watchers leave in a front end, counted in one inside this process."""
    with convscope.embedded() as client:
        digest = client.upload(photograph())
        _work(client, digest, 4)
        before = _settled_tasks()
        for _ in range(runs):
            _work(client, digest, 4)
            gone = client.visualize("deepdream", image=digest, size=64, octaves=1, steps=5, detach=True, cache="bypass")
            gone.close()
            client.attach(gone.id).result()
        wait_until(lambda: _settled_tasks() <= before, seconds=10)
        return _settled_tasks() - before


def _settled_tasks() -> int:
    return sum(type(found) is asyncio.Task and not found.done() for found in gc.get_objects())


def _hooks_left() -> int:
    """Hooks on the default network after runs in this process, one of them closed on the way."""
    network = default_network()
    for _ in range(5):
        list(grad_cam.run(network, photograph(), size=64))
        dream = deepdream.run(network, photograph(), size=64, octaves=1, steps=50, cache="bypass")
        next(dream)
        next(dream)
        dream.close()  # type: ignore[attr-defined]  # a generator, annotated as the iterator that callers need
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in network.module.modules() for kind in kinds)
