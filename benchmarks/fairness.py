"""Whether short runs wait for a long one, against a server that takes runs one after the other."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.harness import photograph, serving
from benchmarks.result import Measure, Result, median, percentile

import convscope

STEPS = 300
CALLS = 30
BETTER_THAN_FIFO = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """Seconds that calls took which came at even intervals, and whether the dream beside them ran all along."""

    latencies: list[float]
    dream_outlived: bool


def run(*, quick: bool = False) -> Result:
    """p95 of Grad-CAM beside a 300-step DeepDream: against its time alone, and against first in, first out."""
    calls, steps = (8, 100) if quick else (CALLS, STEPS)
    with serving() as (_, client):
        digest = client.upload(photograph())
        _calls(client, digest, 3, 0.0)
        solo = median(_calls(client, digest, calls, 0.0))
        step = _dream_step(client, digest)
        interval = 1.5 * (solo + 2 * step)
        fair = _beside_a_dream(client, digest, calls, steps, interval)
    with serving(max_live_runs=1) as (_, client):
        digest = client.upload(photograph())
        _calls(client, digest, 3, 0.0)
        fifo = _beside_a_dream(client, digest, calls, steps, interval)
    if not fair.dream_outlived:
        raise RuntimeError("the dream ended before the last call came: nothing was measured; raise STEPS")
    p95, fifo_p95 = percentile(fair.latencies, 95), percentile(fifo.latencies, 95)
    measures = (
        Measure("p95 beside a dream / (p50 alone + 2 dream steps)", p95 / (solo + 2 * step), 1.0),
        Measure("p95 first in, first out / p95", fifo_p95 / p95, BETTER_THAN_FIFO, at_least=True),
    )
    details = {"p50_alone": solo, "dream_step": step, "p95": p95, "p50": median(fair.latencies), "fifo_p95": fifo_p95}
    return Result("fairness", measures, details)


def _beside_a_dream(client: convscope.Client, digest: str, calls: int, steps: int, interval: float) -> Load:
    dream = _dream(client, digest, steps)
    next(event for event in dream if event.kind == "progress")
    latencies = _calls(client, digest, calls, interval)
    outlived = client.run(dream.id).state == "running"
    client.cancel(dream.id)
    dream.close()
    return Load(latencies, outlived)


def _calls(client: convscope.Client, digest: str, count: int, interval: float) -> list[float]:
    """Latencies of calls that come every `interval` seconds, whether or not earlier ones are done; 0: one by one."""
    with ThreadPoolExecutor(max_workers=count if interval else 1) as pool:
        pending = []
        for _ in range(count):
            pending.append(pool.submit(_call, client, digest, time.perf_counter() if interval else None))
            time.sleep(interval)
        return [future.result() for future in pending]


def _call(client: convscope.Client, digest: str, came: float | None) -> float:
    began = time.perf_counter() if came is None else came
    client.visualize("grad_cam", image=digest, previews=False).result()
    return time.perf_counter() - began


def _dream(client: convscope.Client, digest: str, steps: int) -> convscope.Run:
    return client.visualize("deepdream", image=digest, octaves=1, steps=steps, detach=True)


def _dream_step(client: convscope.Client, digest: str) -> float:
    """Median seconds between two steps of a dream that is alone, by the server's clock."""
    events = [event for event in _dream(client, digest, 25) if event.kind == "progress"][5:]
    return median([(b.time - a.time).total_seconds() for a, b in itertools.pairwise(events)])
