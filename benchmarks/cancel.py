"""How soon a device is idle after its run was cancelled."""

from __future__ import annotations

import itertools
import time

from benchmarks.harness import photograph, serving, wait_until
from benchmarks.result import Measure, Result, median, percentile

import convscope

CANCELS = 50
PATIENCE = 0.1


def run(*, quick: bool = False) -> Result:
    """p99 of the seconds from CancelRun to a device without runs, less one step of the dream that was cancelled."""
    idle, told, steps = [], [], []
    with serving() as (_, client):
        digest = client.upload(photograph())
        for _ in range(5 if quick else CANCELS):
            run = client.visualize("deepdream", image=digest, octaves=1, steps=1000, previews=False)
            steps += _steps(run, 4)
            began = time.perf_counter()
            client.cancel(run.id)
            until_told = _wait_for_the_end(run, began)
            if not wait_until(lambda: _is_idle(client), seconds=30, every=0.001):
                raise RuntimeError("the device did not become idle")
            idle.append(time.perf_counter() - began)
            told.append(until_told)
    step = median(steps)
    measure = Measure("p99 from CancelRun to an idle device, less one step", percentile(idle, 99) - step, PATIENCE, "s")
    details = {"step": step, "p50": median(idle), "p99": percentile(idle, 99), "p99_until_told": percentile(told, 99)}
    return Result("cancel", (measure,), details)


def _steps(run: convscope.Run, count: int) -> list[float]:
    """Seconds between the first steps of a run, by the server's clock."""
    progress = (event.time for event in run if event.kind == "progress")
    times = list(itertools.islice(progress, count))
    return [(b - a).total_seconds() for a, b in itertools.pairwise(times)]


def _wait_for_the_end(run: convscope.Run, began: float) -> float:
    kinds = [event.kind for event in run]
    if kinds[-1] != "cancelled":
        raise RuntimeError(f"the run ended as {kinds[-1]}")
    return time.perf_counter() - began


def _is_idle(client: convscope.Client) -> bool:
    return not any(device.runs for device in client.devices())
