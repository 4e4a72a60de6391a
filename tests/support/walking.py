"""A technique that can be put down at each of its steps, and draws from all generators. A loose plugin file."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field

from convscope_sdk import Event, InvalidParams, Note, Params, Progress, Run, Scores, Tensor, technique

__all__ = ["WALKING", "WalkParams", "walk"]

WALKING = __file__


class WalkParams(Params):
    """Parameters of `walk`."""

    steps: int = Field(6, ge=1, le=10_000, description="Steps of each leg.")
    step_size: float = Field(0.1, gt=0, description="Length of a step.")
    road: str = Field("left", description="Which way to go: left or right.")
    pause: float = Field(0.0, ge=0, le=10, description="Seconds that each step takes.")


@technique("test.walk", resumable=True, steers={"step_size", "steps", "road"})
def walk(run: Run[WalkParams]) -> Iterator[Event]:
    """A random walk in two legs."""
    params = run.params
    start_at = torch.rand(2) + float(run.rng.random())
    yield Note("walks")
    if params.road not in {"left", "right"}:
        raise InvalidParams(f"there is no road {params.road!r}: go left or right")
    with run.state("legs", legs=[], leg=0) as legs:
        while legs.leg < 2:
            with run.state("leg", place=start_at, step=0) as state:
                while state.step < params.steps:
                    luck = float(run.rng.random()) + random.random() + float(np.random.random())
                    state.place = state.place + params.step_size * (torch.rand(2) + luck)
                    state.step += 1
                    time.sleep(params.pause)
                    yield Progress(legs.leg * params.steps + state.step, 2 * params.steps)
                    yield state
            legs.legs = [*legs.legs, state.place]
            legs.leg += 1
            yield Note(f"leg {legs.leg} is done")
            yield Scores({f"leg {legs.leg}": float(state.place.sum())})
            yield Tensor(f"leg {legs.leg}", state.place)
    yield Tensor("places", torch.stack(legs.legs))
