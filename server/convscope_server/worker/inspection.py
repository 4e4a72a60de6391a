"""What a step must leave as it found it, looked at after each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from convscope_sdk.loader import BUILTIN_PACKAGE
from convscope_server.worker.guards import Guards

if TYPE_CHECKING:
    from convscope_sdk.isolation import ModeGuard
    from convscope_sdk.network import Network
    from convscope_server.worker.job import Job

__all__ = ["Inspector"]


class Inspector:
    """Looks after the networks, the modes and the litter of a worker's runs.

    Args:
        reload: Gives a loaded model its original values back, by name.
        shared: Whether the process has another user, whose threads and files are no run's.
    """

    def __init__(self, reload: Callable[[str], None], *, shared: bool) -> None:
        self._guards = Guards(reload)
        self._shared = shared

    def guard(self, network: Network) -> None:
        """Remember how a network is now."""
        self._guards.of(network)

    def leaks(self, job: Job, jobs: Collection[Job], modes: ModeGuard, *, thorough: bool) -> list[str]:
        """What the job's step has left changed; all values of its networks are compared where that is called for."""
        # A function mode that leaked would run inside every look at a tensor: first it must go.
        if leaks := modes.leaks():
            return leaks
        guards = [self._guards.of(network) for network in job.networks.values()]
        leaks = list(dict.fromkeys(leak for guard in guards for leak in guard.leaks()))
        closely = job.must_be_looked_at_closely(jobs, ends=thorough)
        if not leaks and closely and any(g.values_changed() for g in guards):
            leaks.append("parameter values")
        return leaks

    def watches_litter(self, job: Job) -> bool:
        """Whether threads and files that come in its turns are its own: not where the process has other users."""
        return not self._shared and job.author.package != BUILTIN_PACKAGE

    def litter(self, job: Job) -> list[str]:
        """What its steps have left lying about."""
        return job.litter.left() if self.watches_litter(job) else []

    def mend(self, job: Job, modes: ModeGuard) -> None:
        """Put modes and networks back as they were."""
        modes.restore()
        self._guards.mend(job.networks)
