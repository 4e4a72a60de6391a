"""What a DeepDream step costs at a shallow layer, where the network behind it need not run."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.harness import photograph
from benchmarks.inprocess import default_network
from benchmarks.result import Measure, Result, median

from convscope_sdk.events import Event, Progress
from convscope_sdk.network import Network
from convscope_techniques.synthesis.deepdream import deepdream

BOUND = 0.6
WARM_UP = 3


def run(*, quick: bool = False) -> Result:
    """Median step at `blocks.2` over median step at the logits, steps of both taken in turns."""
    network, steps = default_network(), (10 if quick else 60) + WARM_UP
    shallow, whole = _dream(network, "blocks.2", steps), _dream(network, "class:285", steps)
    times = [(_step(shallow), _step(whole)) for _ in range(steps)][WARM_UP:]
    partly, all_of_it = (median(column) for column in zip(*times, strict=True))
    measure = Measure("deepdream step at blocks.2 / of the whole network", partly / all_of_it, BOUND)
    return Result("partial_forward", (measure,), {"blocks.2": partly, "whole": all_of_it})


def _dream(network: Network, target: str, steps: int) -> Iterator[Event]:
    return deepdream.run(network, photograph(), target=target, octaves=1, steps=steps, fit="crop")


def _step(events: Iterator[Event]) -> float:
    began = time.perf_counter()
    for event in events:
        if isinstance(event, Progress):
            break
    return time.perf_counter() - began
