"""A server whose processes are killed under it, and clients that keep asking."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

import convscope
from convscope.events import RunEvent
from convscope.testing import ServerProcess
from support.postgres import PostgresServer

__all__ = ["ENDS", "Asker", "Prey"]

ENDS = frozenset({"succeeded", "failed", "cancelled"})


class Prey(ServerProcess):
    """A server on one port all its lives long, whose processes can be killed.

    Attributes:
        pids: Every process that it ever had, as far as was seen.
        kills: How many were killed, by which.
    """

    def __init__(self, data: Path, *flags: str, **settings: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        super().__init__(data, *flags, "--port", port, **settings)
        self.pids: set[psutil.Process] = set()
        self.kills: Counter[str] = Counter()

    def look(self) -> list[psutil.Process]:
        """The processes behind the front end that are there now: workers, and what Python starts beside them."""
        front = psutil.Process(self.pid)
        behind = front.children(recursive=True)
        self.pids.update((front, *behind))
        return behind

    def lose_the_front_end(self) -> None:
        self.look()
        self.kill()
        self.kills["front end"] += 1
        self.start()

    def lose_the_worker(self, client: convscope.Client) -> None:
        """Kills it where there is one; while it starts anew there is none."""
        self.look()
        with contextlib.suppress(convscope.ConvscopeError, psutil.NoSuchProcess):
            if pid := client.devices()[0].pid:
                psutil.Process(pid).kill()
                self.kills["worker"] += 1

    def lose_the_database(self, postgres: PostgresServer) -> None:
        """It is away for a moment."""
        postgres.stop()
        self.kills["database"] += 1
        time.sleep(0.5)
        postgres.start()

    def orphans(self) -> list[psutil.Process]:
        """Those of all that it ever had which live although they should not; they get some seconds to end."""
        return psutil.wait_procs(self.pids, timeout=20)[1]


@dataclass
class Asker(threading.Thread):
    """Asks for runs until told to stop, and watches each to its end through whatever happens.

    Attributes:
        enough: Set it, and its present run is the last.
        logs: What it saw of each run that it was promised.
        results: Their tensors, by run, of those that succeeded; `seeds` are what they started from.
        trouble: What no client should meet.
    """

    address: str
    dice: random.Random
    enough: threading.Event = field(default_factory=threading.Event)
    logs: dict[str, list[RunEvent]] = field(default_factory=dict)
    results: dict[str, bytes] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    trouble: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        try:
            with convscope.connect(self.address, give_up_after=3600) as client:
                while not self.enough.is_set():
                    self._one(client)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test has to hear of it
            self.trouble.append(error)

    def _one(self, client: convscope.Client) -> None:
        seed = self.dice.randrange(4)
        run = self._accepted(client, seed)
        self.seeds[run.id], log = seed, self.logs.setdefault(run.id, [])
        cancel_at = self.dice.randrange(3, 20) if self.dice.random() < 0.2 else 0
        for event in run:
            log.append(event)
            if len(log) == cancel_at:
                with contextlib.suppress(convscope.Unavailable):
                    client.cancel(run.id)
        if log[-1].kind == "succeeded":
            self.results[run.id] = run.result().tensors["reel"].tobytes()

    def _accepted(self, client: convscope.Client, seed: int) -> convscope.Run:
        request_id = str(uuid.uuid4())
        restarts = 0 if self.dice.random() < 0.2 else 10
        # Most are computed; the others may join a run that is under way, or repeat one that is over.
        cache: Literal["default", "bypass"] = "bypass" if self.dice.random() < 0.7 else "default"
        while True:
            try:
                return client.visualize(
                    "steady.reel",
                    seed=seed,
                    request_id=request_id,
                    detach=True,
                    max_restarts=restarts,
                    cache=cache,
                    **self.work(),
                )
            except convscope.Unavailable:  # it is down: who asks for a first time is told so at once
                self.enough.wait(0.2)

    @staticmethod
    def work() -> dict[str, Any]:
        """A run of a second or so with one small and one large result."""
        return {"model": "tiny", "steps": 20, "pause": 0.02, "edge": 320}
