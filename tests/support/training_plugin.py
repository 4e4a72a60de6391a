"""A technique that trains: a tiny classifier learns to say how bright a picture is. A loose plugin file for tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from convscope_sdk import Event, Progress, Run, TrainedModel, TrainingParams, technique
from convscope_sdk.hookspecs import hookimpl
from convscope_sdk.models import Architecture, ModelEntry, ModelSpec

if TYPE_CHECKING:
    from torch import nn

TRAINING = __file__


class Steps(TrainingParams):
    """How long, and how slowly."""

    steps: int = Field(4, ge=1, le=100_000, description="Steps to take.")
    pause: float = Field(0.0, ge=0, le=600, description="Seconds each takes.")
    width: int = Field(2, ge=1, le=8, description="Channels.")


def build(width: int = 2) -> nn.Module:
    """A classifier of two classes."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, width, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))


@technique("school.train", resumable=True, steers={"steps", "pause"})
def train(run: Run[Steps]) -> Iterator[Event]:
    """Learns whether a picture of one colour is bright."""
    import torch

    from convscope_sdk.training import TrainingState

    params = run.params
    with torch.enable_grad():
        module = build(params.width)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    training = TrainingState(module, optimizer, run.rng, {"technique": "school.train", "width": params.width})
    if run.checkpoint is not None:
        training.resume(run.checkpoint)
    with run.state("training", training=training) as state:
        while training.step < params.steps:
            time.sleep(params.pause)
            brightness = torch.rand(8) * torch.tensor(run.rng.random(8), dtype=torch.float32)
            loss = torch.nn.functional.cross_entropy(
                module(brightness.view(8, 1, 1, 1).expand(8, 3, 4, 4)), (brightness > 0.25).long()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            training.step += 1
            yield Progress(training.step, params.steps, {"loss": loss.item()})
            if training.step % params.checkpoint_every == 0 or training.step == params.steps:
                yield training.checkpoint(params.name)
            yield state
    yield TrainedModel(
        params.name,
        module.state_dict(),
        "convscope:school.brightness",
        {"width": params.width},
        input_size=32,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        labels=("dark", "bright"),
        description="how bright it is",
        facts={"steps": training.step},
    )


class BlankSource:
    """A model that loads in no time, to have one that a run can name."""

    name = "school"

    def entries(self) -> Iterable[ModelEntry]:
        return [ModelEntry("blank", "an untrained network")]

    def spec(self, name: str) -> ModelSpec | None:
        return ModelSpec("blank", self.name, build, input_size=32, random_weights=True) if name == "blank" else None


@hookimpl
def convscope_model_sources() -> Iterable[Any]:
    return [BlankSource()]


@hookimpl
def convscope_architectures() -> Iterable[Architecture]:
    return [Architecture("school.brightness", build, "how bright it is")]
