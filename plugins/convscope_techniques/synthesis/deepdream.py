"""A picture in which the network sees more of what it already sees (Mordvintsev et al. 2015)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.events import Event, Image, Note, Preview, Progress, Scores, Tensor
from convscope_sdk.params import Fit, ImageParams
from convscope_sdk.run import Run
from convscope_sdk.state import State
from convscope_sdk.target import LayerRef, Target, TargetField
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.dream import Dream
from convscope_techniques.synthesis.guide import Guide
from convscope_techniques.synthesis.made import made_events, picture_scores
from convscope_techniques.synthesis.middle import middle_layer
from convscope_techniques.synthesis.octaves import MIN_EDGE, octave_sizes, resized
from convscope_techniques.synthesis.tiling import Tiling
from convscope_techniques.synthesis.zoom import zoomed

__all__ = ["DeepDreamParams", "deepdream"]

_GOOGLE_2015 = {"step_size": 1.5, "jitter": 32, "steps": 10, "octaves": 4, "octave_scale": 1.4, "clip": True}
_WHITE = 0.9998  # of the values are below what is shown as white, where nothing is clipped
_MOST_SIZE = 8192


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
    targets: tuple[TargetField, ...] = Field(
        (), max_length=16, description="Several layers, channels or classes at once, in place of `target`."
    )
    weights: tuple[float, ...] = Field(
        (),
        max_length=16,
        description="What each of `targets` counts, 1 where absent, negative for less of it: a factor of its "
        "gradient, which is first brought to the others' size.",
    )
    step_size: float = Field(1.5, gt=0, le=255, description="Mean change of a pixel in one step, in 1/255.")
    jitter: int = Field(32, ge=0, le=512, description="Each step sees the picture rolled by up to so many pixels.")
    steps: int = Field(10, ge=1, le=1000, description="Steps in each octave.")
    octaves: int = Field(4, ge=1, le=16, description="Sizes to work at, from small to the picture's own.")
    octave_scale: float = Field(1.4, gt=1, le=4, description="Ratio of the edges of one octave to the next.")
    clip: bool = Field(True, description="Keep pixels in [0, 1]; else they run free and are scaled to be shown.")
    frames: int = Field(
        1, ge=1, le=10_000, description="Frames of a zoom: each enlarges the one before by `zoom` and dreams again."
    )
    zoom: float = Field(0.05, ge=0, le=0.5, description="Share of the edges that a frame leaves behind; 0 stays.")
    tile: int = Field(
        768,
        ge=128,
        le=_MOST_SIZE,
        multiple_of=32,
        description="A picture with a longer edge is seen through windows of so many pixels, which bounds the memory.",
    )
    fit: Fit = Field("keep", description="How the picture becomes the input; `keep` its proportions by default.")
    preview_every: int = Field(
        1, ge=1, le=1000, description="Show every so many steps; in a zoom every so many frames, and no steps."
    )

    @model_validator(mode="after")
    def _one_wish(self) -> Self:
        if sum((self.layer is not None, self.target is not None, bool(self.targets))) > 1:
            raise ValueError("give one of layer, target and targets: a target already names its layer")
        if self.weights and len(self.weights) != len(self.targets):
            raise ValueError(f"{len(self.weights)} weights for {len(self.targets)} targets; give one for each")
        if self.weights and not any(self.weights):
            raise ValueError("with no weight but zero there is nothing to dream of")
        return self


@technique(
    "deepdream",
    needs={"image", "gradients"},
    cites="Mordvintsev, Olah & Tyka 2015, google/deepdream",
    extra_images={"guide": "A picture of what to dream of: the layer's features are led towards this one's."},
    resumable=True,
    steers={
        "layer", "target", "targets", "weights", "step_size", "jitter", "steps", "clip", "frames", "zoom",
        "preview_every",
    },
)  # fmt: skip
def deepdream(run: Run[DeepDreamParams]) -> Iterator[Event]:
    """The picture with more of what a layer already sees in it: DeepDream, octave by octave.

    Gradient ascent on ½·‖a‖² of a layer, on any target, or on several with weights; with an image `guide`, on the sum
    over places of max over q of a·b_q, b the guide's features, best behind a ReLU. Each step rolls the picture by a
    random jitter, moves it by step_size / mean|g| times the gradient g, and rolls it back. From octave to octave only
    the detail, what was added so far, is enlarged. Pictures larger than `tile` are seen through overlapping windows
    that lie elsewhere in every step. With `frames`, the previews are those of a zoom. A dream may be led elsewhere on
    the way: with another layer or target it goes on from the pixels that it has. Image and tensor `deepdream` have the
    input's size.
    """
    dream = _dream(run)
    sizes = _sizes(run, dream)
    yield from _notes(run, dream, sizes)
    pixels = yield from _zoomed_in(run, dream, sizes)
    yield Image("deepdream", _shown(pixels, clip=run.params.clip), caption=f"more of {dream.name}")
    yield Tensor("deepdream", pixels[0], caption="pixels, 1 is white")
    yield from _report(run, dream, pixels)


def _dream(run: Run[DeepDreamParams]) -> Dream:
    params, network = run.params, run.network
    asked: Sequence[Target | str] = params.targets or (params.target or params.layer or middle_layer(network),)
    targets = [network.resolve(target, run.image) for target in asked]
    guide = None
    if "guide" in run.images:
        if units := [target for target in targets if target.kind != "layer"]:
            text = f"a guide is matched by all channels of a layer: name a layer alone, not {units[0]}"
            raise InvalidParams(text, violations=[FieldViolation("params.target", text)])
        guide = Guide.of(network, run.images["guide"], [target.layer or "" for target in targets])
    weights = params.weights or (1.0,) * len(targets)
    tile = _MOST_SIZE if _has_one_place(targets) else params.tile
    return Dream(network, targets, weights, guide, Tiling(tile))


def _zoomed_in(
    run: Run[DeepDreamParams], dream: Dream, sizes: list[tuple[int, int]]
) -> Generator[Event, None, torch.Tensor]:
    """The last frame of a zoom; of one frame, the dream."""
    params = run.params
    with run.state("film", picture=run.image, frame=0, step=0, of=dream.name) as film:
        while True:
            pixels = yield from _dreamt(run, dream, film, sizes)
            film.frame += 1
            if params.frames > 1 and (film.frame % params.preview_every == 0 or film.frame >= params.frames):
                yield Preview(_shown(pixels, clip=params.clip), caption=f"frame {film.frame} of {params.frames}")
            if film.frame >= params.frames:
                return pixels
            film.picture = zoomed(pixels, params.zoom)


def _dreamt(
    run: Run[DeepDreamParams], dream: Dream, film: State, sizes: list[tuple[int, int]]
) -> Generator[Event, None, torch.Tensor]:
    """A frame, from the smallest octave to the picture's own size."""
    params = run.params
    with run.state("frame", pixels=resized(film.picture, sizes[0]), to_come=len(sizes) - 1, step=0) as state:
        if film.of != dream.name:
            film.of = dream.name
            yield Note(f"dreams at {dream.name} from step {film.step + 1} on")
        if state.to_come >= len(sizes):  # what it dreams of now has one place in one size
            state.pixels, state.to_come, state.step = _enlarged(state.pixels, film.picture, sizes[-1]), 0, 0
        while True:
            size, octave = sizes[-1 - state.to_come], len(sizes) - state.to_come
            while state.step < params.steps:
                pixels, objective = dream.ascended(state.pixels, params.step_size / 255, _offset(run, dream, size))
                state.pixels = pixels.clamp(0, 1) if params.clip else pixels
                state.step, film.step = state.step + 1, film.step + 1
                total = film.step + _left(params, film, state, len(sizes))
                yield Progress(film.step, total, {"objective": objective, "octave": octave})
                if params.frames == 1 and film.step % params.preview_every == 0:
                    yield Preview(_shown(state.pixels, clip=params.clip), caption=f"octave {octave} of {len(sizes)}")
                yield state
            if not state.to_come:
                break
            state.to_come, state.step = state.to_come - 1, 0
            state.pixels = _enlarged(state.pixels, film.picture, sizes[-1 - state.to_come])
        dreamt: torch.Tensor = state.pixels
    return dreamt


def _enlarged(pixels: torch.Tensor, picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The picture in that size, with the detail that was added to it in another."""
    height, width = pixels.shape[-2:]
    return resized(picture, size) + resized(pixels - resized(picture, (height, width)), size)


def _left(params: DeepDreamParams, film: State, state: State, octaves: int) -> int:
    """Steps of this octave, of those to come, and of further frames."""
    frames = max(params.frames - film.frame - 1, 0)
    left: int = params.steps * (1 + state.to_come + frames * octaves) - state.step
    return left


def _offset(run: Run[DeepDreamParams], dream: Dream, size: tuple[int, int]) -> tuple[int, int]:
    jitter = 0 if _has_one_place(dream.targets) else run.params.jitter
    down, across = (dream.tiling.reach(edge, jitter) for edge in size)
    return int(run.rng.integers(-down, down + 1)), int(run.rng.integers(-across, across + 1))


def _notes(run: Run[DeepDreamParams], dream: Dream, sizes: list[tuple[int, int]]) -> Iterator[Note]:
    params = run.params
    named = params.target or params.layer or params.targets
    yield Note(f"dreams at {dream.name}" + ("" if named else ", 60 % of the depth"))
    if len(sizes) < params.octaves:
        yield Note(f"{len(sizes)} of {params.octaves} octaves: {_why_fewer(dream)}")
    if dream.guide is not None and not dream.guide.is_rectified:
        yield Note("features here have both signs, and the guide leads but weakly: take a layer behind a ReLU")
    windows = dream.tiling.count(*sizes[-1])
    if windows > 1:
        judged = ", each of which classes are judged by" if any(target.is_class for target in dream.targets) else ""
        yield Note(f"seen through {windows} windows of at most {dream.tiling.tile} px{judged}")


def _report(run: Run[DeepDreamParams], dream: Dream, pixels: torch.Tensor) -> Iterator[Event]:
    before, after = dream.measured(run.image), dream.measured(pixels)
    totals = [sum(w * v for w, v in zip(dream.weights, values, strict=True)) for values in (before, after)]
    yield Scores({"objective_before": totals[0], "objective_after": totals[1]})
    if len(dream.targets) > 1:
        named = zip(dream.targets, before, after, strict=True)
        yield Scores({f"{t}_{when}": v for t, b, a in named for when, v in (("before", b), ("after", a))})
    yield picture_scores(pixels, run.image)
    single = dream.targets[0] if len(dream.targets) == 1 and dream.guide is None else None
    yield from made_events(run.network, pixels, single, run.image)


def _has_one_place(targets: Sequence[Target]) -> bool:
    return any(target.kind == "neuron" for target in targets)


def _why_fewer(dream: Dream) -> str:
    if _has_one_place(dream.targets):
        return "a neuron has one place in one size, so it is not shaken either"
    return f"smaller ones fall below {MIN_EDGE} pixels"


def _sizes(run: Run[DeepDreamParams], dream: Dream) -> list[tuple[int, int]]:
    height, width = run.image.shape[-2:]
    count = 1 if _has_one_place(dream.targets) else run.params.octaves
    return octave_sizes(height, width, count, run.params.octave_scale)


def _shown(pixels: torch.Tensor, *, clip: bool) -> torch.Tensor:
    """The picture in [0, 1]; where nothing was clipped, darkened until at most 0.02 % of the values are white."""
    if not clip:
        values = pixels.flatten()
        white = values.kthvalue(max(int(_WHITE * values.numel()), 1)).values
        pixels = pixels / white.clamp(min=1)
    return pixels.clamp(0, 1)
