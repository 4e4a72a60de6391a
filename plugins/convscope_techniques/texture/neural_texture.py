"""A new picture of the same texture, as a network sees textures (Gatys et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field

from convscope_sdk.events import Event, Image, Note, Predictions, Scores, Table, Tensor
from convscope_sdk.run import Run
from convscope_sdk.target import LayerRef
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.descent import Descent, Outcome
from convscope_techniques.texture.colours import histogram_matched, mean_colour
from convscope_techniques.texture.depths import widest_layers
from convscope_techniques.texture.extractor import INPUT, POOLING_HELP, Extractor, Pooling
from convscope_techniques.texture.gram import CONVENTION_HELP, Convention, variation
from convscope_techniques.texture.jitter import Jitter
from convscope_techniques.texture.optimised import OPTIMIZER_HELP, OptimisedParams, Optimizer, by_layer
from convscope_techniques.texture.sample import SampleParams, texture_size
from convscope_techniques.texture.style import Style

__all__ = ["NeuralTextureParams", "neural_texture"]

_GATYS_2015 = {
    "layers": ("relu1_1", "pool1", "pool2", "pool3", "pool4"),
    "weights": (1e9,) * 5,
    "steps": 2000,
    "history": 20,
    "histogram": True,
    "tv_weight": 0.0,
}
_WEIGHTS = {"weights", "tv_weight"}
_VARIATION = "total_variation"


class NeuralTextureParams(SampleParams, OptimisedParams):
    """Parameters of `neural_texture`."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"gatys-2015": _GATYS_2015}

    preset: str | None = Field(
        None,
        description="Named values: `gatys-2015`, the authors' example, for VGG. Their VGG has rescaled weights, for "
        "which `relative` stands in here.",
    )
    grow: float = Field(1.0, ge=0.25, le=16, description="Edges of the texture made, as multiples of the sample's.")
    optimizer: Optimizer = Field("lbfgs", description=OPTIMIZER_HELP)
    steps: int = Field(200, ge=1, le=10_000, description="Steps: forward and backward passes.")
    layers: tuple[LayerRef, ...] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description=(
            "Layers whose Gram matrices are matched: names, VGG's such as `relu3_1`, or `input`, the 5x5 "
            "neighbourhoods of the picture's own pixels. Where absent `input`, and at each resolution the layer with "
            "most maps."
        ),
    )
    weights: tuple[float, ...] | None = Field(
        None, min_length=1, max_length=64, description="One for each layer; equal, with sum 1, where absent."
    )
    convention: Convention = Field("relative", description=CONVENTION_HELP)
    pooling: Pooling = Field("average", description=POOLING_HELP)
    tv_weight: float = Field(0.0, ge=0, le=1e9, description="Weight of the differences of neighbouring pixels.")
    histogram: bool = Field(False, description="At the end give each colour channel the sample's histogram.")


@technique(
    "neural_texture",
    needs={"image", "gradients", "spatial_layer"},
    cites="Gatys et al. 2015, arXiv:1505.07376",
    resumable=True,
    steers={*_WEIGHTS, "steps", "step_size", "final_step_size", "histogram", "preview_every"},
)
def neural_texture(run: Run[NeuralTextureParams]) -> Iterator[Event]:
    """A new picture of the same texture: white noise changed until its Gram matrices are those of the sample.

    Minimises the sum over layers of w·mean((G - G₀)²), G = F·Fᵀ / (N·M) of N maps at M positions, pixels kept in
    [0, 1]; `gram` states the other conventions. Image and tensor `texture`, (3, H, W) of any size; table `layers`
    with each layer's loss. Scores: `gram_loss_relative` is the sum of weighted losses as a share of the noise's.
    Gram matrices forget where things are: what is larger than the deepest layer's view falls apart.
    """
    params, sample = run.params, run.image
    size = texture_size(params, sample)
    layers = list(params.layers or (INPUT, *widest_layers(run.network)))
    weights = by_layer(layers, params.weights, "weights")
    extract = Extractor(run.network, layers, pooling=params.pooling, centre=mean_colour(sample))
    style = Style.of(extract, [sample], [1.0], weights, params.convention)
    yield Note(f"matches the Gram matrices of {', '.join(layers)}")
    if params.pooling == "average":
        yield Note(f"{extract.replaced} max poolings of the network take averages")

    jitter = Jitter(params.reach, run.rng)

    def objective(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        terms = style.losses(extract(pixels.roll(jitter.next(), (2, 3))))
        if params.tv_weight:
            terms[_VARIATION] = params.tv_weight * variation(params.convention, pixels)
        return terms

    noise = torch.rand(1, 3, *size, device=sample.device)
    descent = Descent(
        objective,
        params.update(params.steps),
        params.steps,
        preview_every=params.preview_every,
        keep="last" if params.reach else "best",
        steered=params.model_dump(include=_WEIGHTS),
    )
    with run.state("views", jitter=jitter):
        outcome = yield from descent.run(run, noise)
    yield from _results(run, outcome, extract, style)


def _results(run: Run[NeuralTextureParams], outcome: Outcome, extract: Extractor, style: Style) -> Iterator[Event]:
    pixels = histogram_matched(outcome.pixels, run.image) if run.params.histogram else outcome.pixels
    with torch.no_grad():
        after = {layer: float(loss) for layer, loss in style.losses(extract(pixels)).items()}
        classifies = run.network.spec.kind == "classifier"
        predictions = run.network.predictions(run.network.logits(pixels)) if classifies else None
    yield Image("texture", pixels, caption=f"the texture of the sample, as {run.network.name} sees it")
    yield Tensor("texture", pixels[0], caption="pixels, 1 is white")
    before = {layer: outcome.before[layer] for layer in after}
    yield Table("layers", _rows(style, before, after), caption="weighted Gram losses")
    optimised = sum(outcome.after[layer] for layer in after)
    yield Scores(
        {
            "gram_loss_before": sum(before.values()),
            "gram_loss_after": sum(after.values()),
            "gram_loss_relative": _share(sum(after.values()), sum(before.values())),
            "gram_loss_relative_optimised": _share(optimised, sum(before.values())),
        }
    )
    if predictions is not None:
        yield Predictions(predictions)


def _rows(style: Style, before: Mapping[str, float], after: Mapping[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "layer": layer,
            "maps": style.wanted[layer].shape[-1],
            "noise": before[layer],
            "texture": loss,
            "share": _share(loss, before[layer]),
        }
        for layer, loss in after.items()
    ]


def _share(after: float, before: float) -> float:
    return after / before if before else 0.0
