"""Mixed load that keeps a server's queue full, and what the server holds before and after."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import convscope
from convscope.testing import ServerProcess
from support import counting_server

__all__ = ["Load", "Soaked", "State", "leaks"]

GROWTH = 100 * 2**20
# The store opens at most five connections, two files each, and the pools of both processes their threads, as needed.
SLACK = 10


class Soaked(ServerProcess):
    """A server that can be asked what it holds."""

    def __init__(self, data: Path, *flags: str, **settings: Any) -> None:
        super().__init__(data, *flags, **settings)
        self._tasks = data / "tasks"
        self._command[1:3] = [counting_server.__file__]
        self._settings["TASKS_FILE"] = str(self._tasks)

    def tasks(self) -> int:
        """How many asyncio tasks its front end has."""
        self._tasks.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        while not self._tasks.exists():
            time.sleep(0.01)
        return int(self._tasks.read_text())


@dataclass(frozen=True, slots=True)
class State:
    """What a server holds while nothing runs: resident bytes, open files and threads of its two processes, asyncio
    tasks of the front end, hooks on the worker's model, and files that runs go on from.
    """

    resident: int
    files: int
    threads: int
    tasks: int
    hooks: float
    checkpoints: int

    @classmethod
    def of(cls, server: Soaked, client: convscope.Client) -> State:
        for state in ("queued", "running", "paused"):
            for run in client.runs(state=state):
                client.cancel(run.id)
        while any(device.runs for device in client.devices()):
            time.sleep(0.1)
        hooks = client.visualize("steady.hooks", model="tiny", cache="bypass").result().report.scores["hooks"]
        time.sleep(1)  # connections and threads of what is over take a moment to go
        both = [psutil.Process(pid) for pid in (server.pid, client.devices()[0].pid)]
        resident = sum(process.memory_info().rss for process in both)
        files, threads = sum(p.num_fds() for p in both), sum(p.num_threads() for p in both)
        kept = sum(1 for _ in (server.data / "checkpoints").glob("*"))
        tasks = min(server.tasks() for _ in range(5))  # some only pass by
        return cls(resident, files, threads, tasks, hooks, kept)


def leaks(before: State, after: State) -> list[str]:
    """What has grown that should not: the gate."""
    bounds = {"resident": GROWTH, "files": SLACK, "threads": SLACK, "tasks": 0, "hooks": 0, "checkpoints": 0}
    grown = {name: getattr(after, name) - getattr(before, name) for name in bounds}
    return [f"{name}: {grown[name]:,} more, at most {most:,}" for name, most in bounds.items() if grown[name] > most]


@dataclass
class Load:
    """Clients that do a bit of everything, each on a connection of its own.

    Attributes:
        done: What they did, by kind.
    """

    address: str
    clients: int
    done: Counter[str] = field(default_factory=Counter)

    def go_on(self, seconds: float) -> None:
        """Work for so long, all at once."""
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._work, args=(number, end)) for number in range(self.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, number: int, end: float) -> None:
        dice = random.Random(number)
        while time.monotonic() < end:
            with convscope.connect(self.address) as client:
                for _ in range(20):
                    job = dice.choice(_JOBS)
                    try:
                        job(client, dice)
                    except convscope.ResourceExhausted:
                        self.done["refused: queue full"] += 1
                    except (convscope.InvalidArgument, convscope.NotFound, convscope.RunCancelled):
                        pass  # what the job asked for
                    except convscope.FailedPrecondition as refusal:
                        if refusal.reason != "RUN_ENDED":  # so it has been changed too late
                            raise
                    self.done[job.__name__.strip("_")] += 1
                    if time.monotonic() > end:
                        return


def _picture(dice: random.Random) -> np.ndarray[Any, Any]:
    """Another one each time."""
    return np.random.default_rng(dice.randrange(2**32)).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def _look(client: convscope.Client, dice: random.Random) -> None:
    client.visualize(dice.choice(("saliency", "grad_cam")), model="tiny", image=_picture(dice), size=32).result()


def _watch_a_little(client: convscope.Client, dice: random.Random) -> None:
    run = client.visualize("steady.reel", model="tiny", steps=200, pause=0.01, cache="bypass")
    for _ in range(dice.randrange(1, 10)):
        next(run)
    run.close()
    client.cancel(run.id)


def _put_down_and_take_up(client: convscope.Client, dice: random.Random) -> None:
    """Paused and changed at work or in the queue, and again when it is taken up; some end while they are paused."""
    run = client.visualize("test.walk", model="tiny", steps=100, pause=0.01, cache="bypass", seed=dice.randrange(2**32))
    for _ in range(dice.randrange(1, 20)):
        next(run)
    run.pause()
    run.update(step_size=dice.uniform(0.01, 1))
    if dice.random() < 0.2:
        run.cancel()
    run.resume()
    run.update(step_size=dice.uniform(0.01, 1), steps=50)
    run.result()


def _fill_the_queue(client: convscope.Client, dice: random.Random) -> None:
    for _ in range(10):
        client.visualize(
            "steady.reel", model="tiny", steps=10, pause=0.01, edge=dice.choice((8, 300)), detach=True, cache="bypass"
        )


def _ask_for_nonsense(client: convscope.Client, dice: random.Random) -> None:
    client.visualize("saliency", model="tiny", image=b"no picture", size=dice.randrange(10_000))


def _look_around(client: convscope.Client, dice: random.Random) -> None:
    client.techniques()
    client.models()
    for run in client.runs(limit=20):
        client.run(run.id)


def _tidy_up(client: convscope.Client, dice: random.Random) -> None:
    for run in client.runs(state="succeeded", limit=5):
        client.delete(run.id)


_JOBS: tuple[Callable[[convscope.Client, random.Random], None], ...] = (
    _look,
    _look,
    _watch_a_little,
    _put_down_and_take_up,
    _fill_the_queue,
    _ask_for_nonsense,
    _look_around,
    _tidy_up,
)
