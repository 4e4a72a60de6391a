"""A plugin as somebody wrote it for convscope 0.1, when contract v1 was published.

Never change this file: a test holds its digest. If it does not work any more, the SDK has broken a promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import nn

from convscope_sdk import (
    Event,
    Heatmap,
    Image,
    ImageGrid,
    ImageParams,
    InvalidImage,
    LayerRef,
    ModelEntry,
    ModelSpec,
    NotApplicable,
    Note,
    Params,
    Predictions,
    Preview,
    Progress,
    Run,
    Scores,
    Table,
    Target,
    TargetField,
    Technique,
    TechniqueError,
    Tensor,
    Text,
    hookimpl,
    target_field,
    technique,
)


class EverythingParams(ImageParams):
    """Every kind of field that the documentation shows."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"quick": {"steps": 1}, "thorough": {"steps": 4, "strength": 0.5}}

    preset: Literal["quick", "thorough"] | None = Field(None, description="Values by name.")
    target: TargetField = Field(target_field("top1"), description="What is looked at.")
    layer: LayerRef = Field("last_conv", description="Where.")
    steps: int = Field(2, ge=1, le=10, description="How often.")
    strength: float = Field(0.25, gt=0, le=1, description="How much.")
    signed: bool = Field(False, description="Whether zero is the middle.")

    @field_validator("steps")
    @classmethod
    def _not_seven(cls, steps: int) -> int:
        if steps == 7:
            raise ValueError("seven is refused")
        return steps


@technique(
    "frozen.everything",
    needs={"image", "gradients", "classes", "spatial_layer"},
    cites="nobody",
    extra_images={"second": "A second picture."},
    stall_seconds=60.0,
)
def everything(run: Run[EverythingParams]) -> Iterator[Event]:
    """Yields one of each kind of event."""
    network, params = run.network, run.params
    if run.image.shape[1] != 3:
        raise InvalidImage("three channels, please")
    target: Target = network.resolve(params.target, run.image)
    yield Note(f"looks at {target} of {network.name}, {network.layer(params.layer).name}, on {run.device}")
    total = torch.zeros_like(run.image)
    for step in range(1, params.steps + 1):
        pixels = (run.image + params.strength * torch.randn_like(run.image)).requires_grad_()
        with torch.enable_grad(), network.gradient_rule("guided"):
            (gradient,) = torch.autograd.grad(network.score(pixels, target).sum(), pixels)
        total += gradient
        yield Progress(step, params.steps, {"strongest": float(gradient.abs().max())})
        yield Preview(total.abs().amax(1)[0], caption=f"step {step}", heatmap=True)
    with torch.no_grad():
        activations = network.activations(run.image, params.layer)[params.layer]
        logits = network.logits(run.image)
    yield Predictions(network.predictions(logits, k=3))
    yield Heatmap("gradient", total.abs().amax(1)[0], signed=params.signed, caption="sum over channels")
    yield Image("second", run.images["second"] if "second" in run.images else run.image)
    yield ImageGrid(
        "channels", [_scaled(a) for a in activations[0][:4].numpy()], labels=["0", "1", "2", "3"], columns=2
    )
    yield Tensor("noise", run.rng.normal(size=(2, 3)))
    yield Table("classes", [{"index": i, "label": network.label(i)} for i in range(2)], caption="the first two")
    yield Text("words", f"{network.input_size} px, seed {run.seed}")
    yield Scores({"logit": float(logits.max())})


def _scaled(values: Any) -> Any:
    low, high = values.min(), values.max()
    return (values - low) / max(high - low, 1e-9)


class NothingParams(Params):
    """No parameters."""


@technique("frozen.refuses")
def refuses(run: Run[NothingParams]) -> Iterator[Event]:
    """Refuses every network."""
    if run.network.random_weights:
        raise NotApplicable("nothing was learned; take a trained network")
    yield Table("answer", [{"value": int(np.int64(42))}])
    raise TechniqueError("there is no more", reason="NO_MORE", metadata={"asked": "again"})


class Lab:
    """The models of a lab."""

    name = "frozen"

    def entries(self) -> Iterable[ModelEntry]:
        return [ModelEntry("frozen:tiny", "three classes, two layers")]

    def spec(self, name: str) -> ModelSpec | None:
        if name != "frozen:tiny":
            return None
        return ModelSpec(name, source="frozen", build=self._tiny, input_size=32, random_weights=True)

    def _tiny(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


@hookimpl
def convscope_techniques() -> Iterable[Technique[Any]]:
    return [everything, refuses]


@hookimpl
def convscope_model_sources() -> Iterable[Lab]:
    return [Lab()]
