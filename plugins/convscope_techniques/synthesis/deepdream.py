"""A picture in which the network sees more of what it already sees (Mordvintsev et al. 2015)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator

from convscope_sdk.errors import TechniqueError
from convscope_sdk.events import Event, Image, Note, Predictions, Preview, Progress, Scores, Tensor
from convscope_sdk.network import Network
from convscope_sdk.params import Fit, ImageParams
from convscope_sdk.run import Run
from convscope_sdk.target import LayerRef, Target, TargetField
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.middle import middle_layer
from convscope_techniques.synthesis.octaves import MIN_EDGE, octave_sizes, resized

__all__ = ["DeepDreamParams", "ascended", "deepdream"]

_GOOGLE_2015 = {"step_size": 1.5, "jitter": 32, "steps": 10, "octaves": 4, "octave_scale": 1.4, "clip": True}
_WHITE = 0.9998  # of the values are below what is shown as white, where nothing is clipped


class DeepDreamParams(ImageParams):
    """Parameters of `deepdream`; the defaults are those of google's notebook of 2015."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"google-2015": _GOOGLE_2015}

    preset: str = Field("google-2015", description="Named values: `google-2015`, the notebook that began it.")
    layer: LayerRef | None = Field(
        None,
        description=(
            "Layer to dream at: short for the target of that name. Where neither is given, the block at 60 % of "
            "the network's depth."
        ),
    )
    target: TargetField | None = Field(
        None,
        description="What to see more of: a layer (½·‖a‖²), a channel `blocks.4:17`, a neuron, or a class.",
    )
    step_size: float = Field(1.5, gt=0, le=255, description="Mean change of a pixel in one step, in 1/255.")
    jitter: int = Field(32, ge=0, le=512, description="Each step sees the picture rolled by up to so many pixels.")
    steps: int = Field(10, ge=1, le=1000, description="Steps in each octave.")
    octaves: int = Field(4, ge=1, le=16, description="Sizes to work at, from small to the picture's own.")
    octave_scale: float = Field(1.4, gt=1, le=4, description="Ratio of the edges of one octave to the next.")
    clip: bool = Field(True, description="Keep pixels in [0, 1]; else they run free and are scaled to be shown.")
    fit: Fit = Field("keep", description="How the picture becomes the input; `keep` its proportions by default.")
    preview_every: int = Field(1, ge=1, le=1000, description="Show every so many steps.")

    @model_validator(mode="after")
    def _one_wish(self) -> Self:
        if self.layer is not None and self.target is not None:
            raise ValueError("give layer or target, not both: target already names its layer")
        return self


@technique("deepdream", needs={"image", "gradients"}, cites="Mordvintsev, Olah & Tyka 2015, google/deepdream")
def deepdream(run: Run[DeepDreamParams]) -> Iterator[Event]:
    """The picture with more of what a layer already sees in it: DeepDream, octave by octave.

    Gradient ascent on ½·‖a‖² of a layer, or on any target. Each step rolls the picture by a random jitter,
    moves it by step_size / mean|g| times the gradient g, and rolls it back. From octave to octave only the
    detail, what was added so far, is enlarged. Image and tensor `deepdream` have the size of the input.
    """
    target = run.network.resolve(_wish(run), run.image)
    sizes = _sizes(run, target)
    yield Note(f"dreams at {target}" + ("" if run.params.target or run.params.layer else ", 60 % of the depth"))
    if len(sizes) < run.params.octaves:
        yield Note(f"{len(sizes)} of {run.params.octaves} octaves: {_why_fewer(target)}")
    dream = yield from _dreamt(run, target, sizes)
    yield Image("deepdream", _shown(dream, clip=run.params.clip), caption=f"more of {target}")
    yield Tensor("deepdream", dream[0], caption="pixels, 1 is white")
    with torch.no_grad():
        before, after = (float(run.network.score(x, target).sum()) for x in (run.image, dream))
        logits = run.network.logits(dream) if run.network.spec.kind == "classifier" else None
    yield Scores({"objective_before": before, "objective_after": after})
    if logits is not None:
        yield Predictions(run.network.predictions(logits))


def ascended(
    network: Network, pixels: torch.Tensor, target: Target, step_size: float, offset: tuple[int, int] = (0, 0)
) -> tuple[torch.Tensor, float]:
    """The pixels after one step of normalised ascent, seen rolled by `offset`; and the objective before it.

    The mean of |change| is `step_size`.

    Raises:
        TechniqueError: the target has no gradient at this picture.
    """
    rolled = pixels.detach().roll(offset, (2, 3)).requires_grad_()
    with torch.enable_grad():
        objective = network.score(rolled, target).sum()
        (gradient,) = torch.autograd.grad(objective, rolled)
    strength = gradient.abs().mean()
    if not 0 < float(strength) < float("inf"):
        raise TechniqueError(
            f"{target} does not answer to this picture: its gradient is {float(strength)}; "
            f"take another target or picture",
            reason="NO_GRADIENT",
        )
    moved = rolled.detach() + gradient * (step_size / strength)
    return moved.roll((-offset[0], -offset[1]), (2, 3)), float(objective.detach())


def _dreamt(
    run: Run[DeepDreamParams], target: Target, sizes: list[tuple[int, int]]
) -> Generator[Event, None, torch.Tensor]:
    params, step = run.params, 0
    jitter = 0 if target.kind == "neuron" else params.jitter
    pixels = base = resized(run.image, sizes[0])
    for octave, size in enumerate(sizes, 1):
        detail, base = pixels - base, resized(run.image, size)
        pixels = base + resized(detail, size)
        for _ in range(params.steps):
            dy, dx = run.rng.integers(-jitter, jitter + 1, 2).tolist()
            pixels, objective = ascended(run.network, pixels, target, params.step_size / 255, (dy, dx))
            if params.clip:
                pixels = pixels.clamp(0, 1)
            step += 1
            yield Progress(step, len(sizes) * params.steps, {"objective": objective, "octave": octave})
            if step % params.preview_every == 0:
                yield Preview(_shown(pixels, clip=params.clip), caption=f"octave {octave} of {len(sizes)}")
    return pixels


def _wish(run: Run[DeepDreamParams]) -> Target:
    return run.params.target or Target.parse(run.params.layer or middle_layer(run.network))


def _why_fewer(target: Target) -> str:
    if target.kind == "neuron":
        return "a neuron has one place in one size, so it is not shaken either"
    return f"smaller ones fall below {MIN_EDGE} pixels"


def _sizes(run: Run[DeepDreamParams], target: Target) -> list[tuple[int, int]]:
    height, width = run.image.shape[-2:]
    count = 1 if target.kind == "neuron" else run.params.octaves
    return octave_sizes(height, width, count, run.params.octave_scale)


def _shown(pixels: torch.Tensor, *, clip: bool) -> torch.Tensor:
    """The picture in [0, 1]; where nothing was clipped, darkened until at most 0.02 % of the values are white."""
    if not clip:
        values = pixels.flatten()
        white = values.kthvalue(max(int(_WHITE * values.numel()), 1)).values
        pixels = pixels / white.clamp(min=1)
    return pixels.clamp(0, 1)
