"""What it costs to look after each step of a run whether it has left anything behind."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.inprocess import default_network
from benchmarks.result import Measure, Result, median

from convscope_sdk.isolation import ModeGuard, NetworkGuard, RandomState

BOUND = 0.2  # ms


def run(*, quick: bool = False) -> Result:
    """Medians over steps of EfficientNet-Lite0: the worker's checks, and with them the change to another run's turn."""
    repeats = 200 if quick else 2000
    network, modes = NetworkGuard(default_network().module), ModeGuard()
    mine, others = RandomState.seeded(0), RandomState.seeded(1)

    def checks() -> None:
        if modes.leaks() or network.leaks():
            raise AssertionError("nothing was done to the network")

    def turn() -> None:
        mine.capture()
        others.install()

    looked, turned = _milliseconds(checks, repeats), _milliseconds(turn, repeats)
    measures = (
        Measure("isolation checks of a step", looked, BOUND, unit="ms"),
        Measure("isolation checks of a step, when runs take turns", looked + turned, BOUND, unit="ms"),
    )
    return Result("isolation", measures, {"tensors and modules, ms": looked, "random numbers of two runs, ms": turned})


def _milliseconds(job: Callable[[], None], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        job()
        times.append(1000 * (time.perf_counter() - began))
    return median(times)
