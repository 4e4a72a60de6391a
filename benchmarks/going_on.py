"""What it costs to keep a run every few seconds, and what is lost where its worker is."""

from __future__ import annotations

import os
import signal
import time

from benchmarks.harness import photograph, serving
from benchmarks.result import Measure, Result, median

import convscope

ROUNDS = 5
COST = 1.02  # what keeps from it: a run works fifty times as long as it was kept
KEPT_EVERY = 2.0
PARAMS: dict[str, dict[str, object]] = {
    "style_transfer": {"size": 256, "optimizer": "lbfgs", "steps": 60},
    "deepdream": {"octaves": 1, "steps": 120},
}


def run(*, quick: bool = False) -> Result:
    """Device seconds of runs that are kept, as a share of those that are not; and the steps lost by a kill."""
    seconds: dict[str, list[float]] = {}
    with serving(checkpoint_seconds=KEPT_EVERY) as (_, keeping), serving(checkpoint_seconds=0) as (_, careless):
        for _ in range(1 if quick else ROUNDS):
            for technique in PARAMS:
                for name, client in (("kept", keeping), ("not kept", careless)):
                    found = _started(client, technique)
                    found.result(timeout=600)
                    seconds.setdefault(f"{technique}, {name}", []).append(found.refresh().device_seconds)
        lost = [_lost_steps(keeping) for _ in range(1 if quick else 3)]
    ratios = {
        technique: median(seconds[f"{technique}, kept"]) / median(seconds[f"{technique}, not kept"])
        for technique in PARAMS
    }
    measures = [
        Measure(f"{name} kept every {KEPT_EVERY:g} s / not kept", ratio, COST) for name, ratio in ratios.items()
    ]
    details = {name: median(values) for name, values in seconds.items()}
    return Result("going_on", tuple(measures), {**details, "steps done again after a kill": median(lost)})


def _started(client: convscope.Client, technique: str) -> convscope.Run:
    extra = {"style": photograph()} if technique == "style_transfer" else {}
    return client.visualize(
        technique, image=photograph(), extra_images=extra, previews=False, cache="bypass", **PARAMS[technique]
    )


def _lost_steps(client: convscope.Client) -> float:
    """Steps of a dream that are done again when its worker is killed at its 60th."""
    run = _started(client, "deepdream")
    done = 0
    for event in run:
        if event.progress is not None and event.progress.step >= 60 and not done:  # noqa: PLR2004 - in the middle
            done = event.progress.step
            os.kill(client.devices()[0].pid, signal.SIGKILL)
            began = time.perf_counter()
        if event.kind == "started" and done:
            print(f"    back after {time.perf_counter() - began:.1f} s, at step {event.step} of {done}")
            run.cancel()
            return float(done - event.step)
    raise RuntimeError("the run ended before its worker could be killed")
