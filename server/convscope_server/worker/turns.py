"""Whose turn it is on a device: principals share it evenly, and each one's runs share what that one gets."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, TypeVar

from convscope_server.engine.messages import RunSpec
from convscope_server.priority import WEIGHT

__all__ = ["Turns"]

_BURST = 0.5  # device seconds that whoever comes may be behind


class Sharing(Protocol):
    """A run with the device seconds that it has taken."""

    attained: float

    @property
    def spec(self) -> RunSpec:
        """Whose it is, and how urgent."""


J = TypeVar("J", bound=Sharing)


class Turns:
    """Fair queueing over device time (start-time fair queueing, Goyal et al. 1996) with least attained service inside.

    A principal's clock runs by the device time that they take, slower for urgent runs and faster for batch ones. The
    one whose clock is behind has the turn. Who comes starts a little behind whoever had the latest turn: a short run
    is done at once, and more time than that, which was not used earlier, is no credit.
    """

    def __init__(self) -> None:
        self._clocks: dict[str, float] = {}
        self._latest = 0.0

    def next(self, jobs: Collection[J]) -> J | None:
        """The job to step, of those that live."""
        if not jobs:
            return None
        present, start = {job.spec.owner for job in jobs}, self._latest - _BURST
        ahead = {owner: clock for owner, clock in self._clocks.items() if owner in present or clock > start}
        self._clocks = {**dict.fromkeys(present, start), **ahead}
        owner = min(present, key=lambda name: (self._clocks[name], name))
        self._latest = max(self._latest, self._clocks[owner])
        return min((job for job in jobs if job.spec.owner == owner), key=_served)

    def took(self, job: Sharing, seconds: float) -> None:
        """A job has had the device for so long."""
        if job.spec.owner in self._clocks:
            self._clocks[job.spec.owner] += seconds / WEIGHT[job.spec.priority]


def _served(job: Sharing) -> float:
    return job.attained / WEIGHT[job.spec.priority]
