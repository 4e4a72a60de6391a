"""Several things timed in turns, so that each is measured on the same machine in the same state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

__all__ = ["interleaved"]


def interleaved(jobs: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each job in each round, after rounds to warm up; neighbours in time see the same machine."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + warm_up):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if number >= warm_up:
                times[name].append(time.perf_counter() - began)
    return times
