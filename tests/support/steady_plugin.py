"""Techniques that do harmless work at a known pace, and some that leak. A loose plugin file for long tests."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import Field

from convscope_sdk import Event, Image, Note, Params, Preview, Progress, Run, Scores, Tensor, technique

STEADY = __file__


class Steps(Params):
    """How long, and how slowly."""

    steps: int = Field(20, ge=1, le=100_000, description="Steps to take.")
    pause: float = Field(0.0, ge=0, le=60, description="Seconds each takes.")
    frames: int = Field(5, ge=1, description="Steps from one preview to the next.")
    edge: int = Field(32, ge=1, le=2048, description="Edge of its pictures.")


@technique("steady.reel")
def reel(run: Run[Steps]) -> Iterator[Event]:
    """Noise that builds up step by step: every kind of event, the same for the same seed."""
    picture = np.zeros((3, run.params.edge, run.params.edge))
    for step in range(1, run.params.steps + 1):
        time.sleep(run.params.pause)
        picture += run.rng.random(picture.shape)
        yield Progress(step, run.params.steps, {"mean": float(picture.mean()), "yielded": time.time()})
        if step % run.params.frames == 0:
            yield Preview(picture / step)
            yield Note(f"frame {step}")
    yield Tensor("reel", picture.astype(np.float32))
    yield Image("frame", picture / run.params.steps)
    yield Scores({"mean": float(picture.mean())})


class Climb(Steps):
    """And how steeply."""

    rise: float = Field(1.0, gt=0, le=100, description="How much each step adds.")


@technique("steady.climb", resumable=True, steers={"rise", "pause"})
def climb(run: Run[Climb]) -> Iterator[Event]:
    """Noise that adds up, and that can be put down after any step; the same for the same seed and changes."""
    params = run.params
    with run.state("climb", picture=np.zeros((3, params.edge, params.edge)), step=0) as state:
        while state.step < params.steps:
            time.sleep(params.pause)
            state.picture = state.picture + params.rise * run.rng.random(state.picture.shape)
            state.step += 1
            yield Progress(state.step, params.steps, {"mean": float(state.picture.mean())})
            if state.step % params.frames == 0:
                yield Preview(state.picture / state.picture.max())
            yield state
    yield Tensor("climb", state.picture.astype(np.float32))
    yield Image("summit", state.picture / state.picture.max())


@technique("steady.hooks")
def hooks(run: Run[Params]) -> Iterator[Event]:
    """Counts what other techniques have left on the network."""
    yield Progress(1, 1)
    kinds = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
    left = sum(len(getattr(module, kind)) for module in run.network.module.modules() for kind in kinds)
    yield Scores({"hooks": left})


@technique("steady.leak")
def leak(run: Run[Steps]) -> Iterator[Event]:
    """Keeps four megabytes and a file of each run."""
    KEPT.append(os.urandom(4 << 20))
    KEPT.append(open(os.devnull, "rb"))  # noqa: PTH123, SIM115 - the point
    yield Progress(1, 1)


KEPT: list[Any] = []
