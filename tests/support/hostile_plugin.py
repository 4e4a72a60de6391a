"""Techniques that do to their worker what no technique should. A loose plugin file for tests."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from convscope_sdk import Event, Params, Progress, Run, technique
from convscope_sdk.hookspecs import hookimpl
from convscope_sdk.models import ModelEntry, ModelSpec

if TYPE_CHECKING:
    from torch import nn

HOSTILE = __file__


class TinySource:
    """One model that loads in no time."""

    name = "hostile"

    def entries(self) -> Iterable[ModelEntry]:
        return [ModelEntry("tiny", "a tiny seeded classifier")]

    def spec(self, name: str) -> ModelSpec | None:
        return ModelSpec("tiny", self.name, _build, input_size=32, random_weights=True) if name == "tiny" else None


@hookimpl
def convscope_model_sources() -> Iterable[Any]:
    return [TinySource()]


def _build() -> nn.Module:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))


class Steps(Params):
    """How long, and how slowly."""

    steps: int = Field(3, ge=1, le=100_000, description="Steps to take.")
    pause: float = Field(0.0, ge=0, le=600, description="Seconds each takes.")


@technique("hostile.count")
def count(run: Run[Steps]) -> Iterator[Event]:
    """Counts, harmlessly."""
    for step in range(1, run.params.steps + 1):
        time.sleep(run.params.pause)
        yield Progress(step, run.params.steps)


@technique("hostile.exit")
def leave(run: Run[Steps]) -> Iterator[Event]:
    """Ends the process."""
    yield Progress(1)
    os._exit(7)


@technique("hostile.segfault")
def segfault(run: Run[Steps]) -> Iterator[Event]:
    """Reads where nothing is."""
    yield Progress(1)
    ctypes.string_at(0)


@technique("hostile.stall", stall_seconds=1.0)
def stall(run: Run[Steps]) -> Iterator[Event]:
    """Never comes back from its second step."""
    yield Progress(1)
    time.sleep(600)


@technique("hostile.print")
def shout(run: Run[Steps]) -> Iterator[Event]:
    """Prints to standard output, where the front end's own words go."""
    print("noise " * 1000)  # noqa: T201 - the point
    yield Progress(1)


@technique("hostile.greedy")
def greedy(run: Run[Steps]) -> Iterator[Event]:
    """Wants a petabyte."""
    import torch

    yield Progress(1)
    torch.empty(2**50)
