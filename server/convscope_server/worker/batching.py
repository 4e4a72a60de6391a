"""Brings runs together that can share a pass through their network."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from convscope_sdk.isolation import RandomState
from convscope_sdk.together import answer_all

if TYPE_CHECKING:
    from convscope_server.worker.job import Job

__all__ = ["Batching", "default_batch"]

logger = logging.getLogger(__name__)

_PATIENCE = 0.25


def default_batch(device: str) -> int:
    """How many runs share a pass where nobody says.

    A CPU does eight pictures in little less than eight times the time of one, so there every run has its own, and its
    numbers to the last bit.
    """
    return 1 if device.startswith("cpu") else 8


class Batching:
    """Which runs of a device share a pass.

    Args:
        most: At most so many; with 1 no run ever waits for another.
        device: Where they are.
    """

    def __init__(self, most: int, device: str) -> None:
        self.most = most
        self._device = device

    def instead_of(self, job: Job, jobs: Collection[Job]) -> Job:
        """Whose turn it is where it would be that of `job`: a run that may soon share its pass goes first.

        Those are of the same technique, model and parameters, and have not come as far; it waits a quarter of a second.
        """
        if job.wish is None or job.cancel_reason or time.monotonic() - job.wished_at > _PATIENCE:
            return job
        if len(self.met_by(job, jobs)) >= self.most:
            return job
        return next((other for other in jobs if _may_come(other, job)), job)

    def met_by(self, job: Job, jobs: Collection[Job]) -> list[Job]:
        """The runs whose wishes one call can answer, `job` first; none where it is alone with its wish."""
        if job.wish is None:
            return []
        fitting = [other for other in jobs if other is not job and other.wish is not None and job.wish.fits(other.wish)]
        met = [job, *(other for other in fitting if other.cancel_reason is None)][: self.most]
        return met if len(met) > 1 else []

    def share(self, jobs: Collection[Job]) -> None:
        """Answer the wishes of all of them by one call; where that fails each is left to itself."""
        wishes = [job.wish for job in jobs if job.wish is not None]
        try:
            # The function draws no random numbers; if it does, they are nobody's.
            with RandomState.seeded(0, self._device).swapped_in():
                answers = answer_all(wishes)
        except BaseException:
            logger.info("%d runs could not share a pass and go on alone", len(jobs), exc_info=True)
            for job in jobs:
                job.answer(None, together=1)
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.answer(answer, together=len(jobs))


def _may_come(other: Job, job: Job) -> bool:
    """Whether `other` may come to wish what `job` does."""
    alike = (other.spec.technique, other.spec.model) == (job.spec.technique, job.spec.model)
    return alike and other.spec.params == job.spec.params and not other.has_wished and other.cancel_reason is None
