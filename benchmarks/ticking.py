"""A loose plugin for benchmarks: a technique that computes evenly, and says when it yields what."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pydantic import Field

from convscope_sdk import Event, Params, Progress, Run, technique

TICKING = __file__


class Ticks(Params):
    """How many, and how long each."""

    steps: int = Field(50, ge=1, description="Steps to take.")
    products: int = Field(4, ge=1, description="Matrix products in each step.")


@technique("bench.tick")
def tick(run: Run[Ticks]) -> Iterator[Event]:
    """Matrix products, and the time at which each step is done."""
    import torch

    matrix = torch.rand(512, 512)
    for step in range(1, run.params.steps + 1):
        for _ in range(run.params.products):
            matrix = torch.tanh(matrix @ matrix)
        yield Progress(step, run.params.steps, {"yielded": time.time()})
