"""A device's place for a worker, and the runs on it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from convscope_server.engine.engine import Blame
from convscope_server.engine.messages import Command, Hello, LoadedModel, Reply
from convscope_server.engine.needs import Need
from convscope_server.engine.options import Environment
from convscope_server.runs.events import Error

__all__ = ["Culprit", "Link", "Seat", "SeatedRun"]

_UNKNOWN = Need()


class Link(Protocol):
    """The way to a living worker."""

    def post(self, command: Command) -> None:
        """Send a command; a worker that is gone is noticed elsewhere."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """The run that took a worker down, or probably did, and its error."""

    run: str
    error: Error
    blame: Blame = "certain"


@dataclass(slots=True, eq=False)
class SeatedRun:
    """A run on a worker.

    Attributes:
        technique, owner, media_types: Its technique, its principal, and what its results are written as.
        likeness: What it shares with runs that need as much memory.
        need: What those have needed.
        taken: What it has taken itself so far.
        started: Whether it has.
    """

    technique: str
    owner: str = ""
    media_types: tuple[str, ...] = ()
    likeness: str = ""
    need: Need = _UNKNOWN
    taken: Need = _UNKNOWN
    started: bool = False


@dataclass(slots=True, eq=False)
class Seat:
    """A device, and its worker while there is one."""

    device: str
    environment: Environment | None = None
    link: Link | None = None
    pid: int = 0
    budget: int = 0
    restarts: int = 0
    models: tuple[LoadedModel, ...] = ()
    runs: dict[str, SeatedRun] = field(default_factory=dict)
    replies: dict[int, asyncio.Future[Reply]] = field(default_factory=dict)

    hello: Hello | None = None
    """What its latest worker offered."""

    @property
    def lane(self) -> str:
        """The plugin whose own worker sits here, or ""."""
        return self.environment.plugin if self.environment else ""

    @property
    def name(self) -> str:
        """The device, and whose own worker it is."""
        return f"{self.device}/{self.lane}" if self.lane else self.device

    @property
    def ready(self) -> bool:
        """Whether it has a worker that has said hello."""
        return self.link is not None

    def holds(self, model: str) -> bool:
        """Whether the model is on the device."""
        return any(loaded.name == model for loaded in self.models)
