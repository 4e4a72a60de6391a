"""A server whose processes are killed under it, and clients that keep asking."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

import convscope
from convscope.events import RunEvent
from convscope.testing import ServerProcess
from support.postgres import PostgresServer

__all__ = ["ENDS", "REEL", "WALK", "Asker", "Prey", "Seen", "Work"]

ENDS = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What is asked for: a technique with its parameters, and the tensor that tells one result from another."""

    technique: str
    tensor: str
    params: Mapping[str, Any]

    def ask(self, client: convscope.Client, seed: int, **options: Any) -> convscope.Run:
        return client.visualize(self.technique, seed=seed, **{**self.params, **options})

    def made(self, run: convscope.Run) -> bytes:
        """What came of it."""
        return run.result().tensors[self.tensor].tobytes()


REEL = Work("steady.reel", "reel", {"model": "tiny", "steps": 20, "pause": 0.02, "edge": 320})
"""A run of a second or so with one small and one large result, which starts again from its beginning."""
WALK = Work("test.walk", "places", {"model": "tiny", "steps": 40, "pause": 0.02})
"""A run of two seconds or so that goes on from its checkpoints."""


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

    def roll(self) -> None:
        """A new version comes: it ends in order, and starts again."""
        self.look()
        assert self.stop() == 0
        self.kills["rolling restart"] += 1
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


@dataclass(slots=True)
class Seen:
    """One run, as its asker knows it.

    Attributes:
        log: What came of its log.
        made: Its result, once it has succeeded.
        cancelled: Whether its asker wanted it cancelled.
        asked: The values of `step_size` that it wanted on the way.
        held: Those of which the server said that they hold.
    """

    work: Work
    seed: int
    log: list[RunEvent] = field(default_factory=list)
    made: bytes | None = None
    cancelled: bool = False
    asked: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)

    def count(self, kind: str) -> int:
        return sum(event.kind == kind for event in self.log)


@dataclass
class Asker(threading.Thread):
    """Asks for runs until told to stop, and watches each to its end through whatever happens.

    On the way it pauses, changes or cancels some; its first it pauses and changes in any case.

    Attributes:
        enough: Set it, and its present run is the last.
        seen: Each run that it was promised.
        trouble: What no client should meet.
    """

    address: str
    dice: random.Random
    enough: threading.Event = field(default_factory=threading.Event)
    seen: dict[str, Seen] = field(default_factory=dict)
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
        work, seed = self.dice.choice((REEL, WALK)) if self.seen else WALK, self.dice.randrange(4)
        deeds = self._deeds(work)
        run = self._accepted(client, work, seed)
        seen = self.seen[run.id] = Seen(work, seed)
        for event in run:
            seen.log.append(event)
            if deed := deeds.get(len(seen.log)):
                deed(run, seen)
        if seen.log[-1].kind == "succeeded":
            seen.made = work.made(run)

    def _deeds(self, work: Work) -> Mapping[int, Callable[[convscope.Run, Seen], None]]:
        """What it does to a run, by how many events it has seen before."""
        if not self.seen:
            return {20: self._pause, 40: self._steer}
        deeds = {self.dice.randrange(3, 20): self._cancel} if self.dice.random() < 0.2 else {}
        if work is WALK:
            chances = (self._pause, 0.3), (self._steer, 0.3), (self._steer, 0.3)
            deeds |= {self.dice.randrange(3, 80): deed for deed, chance in chances if self.dice.random() < chance}
        return deeds

    def _cancel(self, run: convscope.Run, seen: Seen) -> None:
        seen.cancelled = True
        with contextlib.suppress(convscope.Unavailable):
            run.cancel()

    def _pause(self, run: convscope.Run, _: Seen) -> None:
        self._insist(run.pause)
        time.sleep(self.dice.uniform(0, 1))  # at times too short for it to be down
        self._insist(run.resume)

    def _steer(self, run: convscope.Run, seen: Seen) -> None:
        step_size = self.dice.uniform(0.01, 1)
        seen.asked.append(step_size)
        if self._insist(lambda: run.update(step_size=step_size)):
            seen.held.append(step_size)

    def _insist(self, ask: Callable[[], None]) -> bool:
        """Ask until there is an answer; False where the run has ended, or identical ones share it."""
        while True:
            try:
                ask()
            except convscope.Unavailable:
                time.sleep(0.1)
            except convscope.FailedPrecondition as refusal:
                if refusal.reason not in {"RUN_ENDED", "RUN_SHARED"}:
                    raise
                return False
            else:
                return True

    def _accepted(self, client: convscope.Client, work: Work, seed: int) -> convscope.Run:
        # Most are computed; the others may join a run that is under way, or repeat one that is over.
        cache: Literal["default", "bypass"] = "default" if self.seen and self.dice.random() < 0.3 else "bypass"
        restarts = 0 if work is WALK or self.dice.random() < 0.2 else 10
        options = {"request_id": str(uuid.uuid4()), "detach": True, "max_restarts": restarts, "cache": cache}
        while True:
            try:
                return work.ask(client, seed, **options)
            except convscope.Unavailable:  # it is down: who asks for a first time is told so at once
                self.enough.wait(0.2)
