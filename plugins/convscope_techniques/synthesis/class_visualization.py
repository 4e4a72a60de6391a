"""The picture that a class, or any unit, answers to most (Simonyan et al. 2013, Yosinski et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.events import Event, Image, Note, Scores, Tensor
from convscope_sdk.params import ImageParams
from convscope_sdk.run import Run
from convscope_sdk.target import Target, TargetField, target_field
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.centred import UNITS_HELP, Centred, Units
from convscope_techniques.synthesis.descent import Descent
from convscope_techniques.synthesis.made import made_events, picture_scores, term_scores
from convscope_techniques.synthesis.penalty import squared_norm
from convscope_techniques.synthesis.regularised_ascent import RegularisedAscent, Rules, Schedule

__all__ = ["ClassVisualizationParams", "class_visualization"]

_SHAKEN = 8
_FARTHEST = 16
_CAFFE: dict[str, Any] = {"units": "bytes", "noise": 10.0, "schedule": "constant", "step_size": 100.0}
_PROGRESS: dict[str, Any] = {**_CAFFE, "schedule": "progress", "progress": 2.0}
_BLUR: dict[str, Any] = {"blur_radius": 0.5, "blur_every": 4}
_PRESETS: dict[str, dict[str, Any]] = {
    "simonyan-2013": {
        "units": "bytes", "noise": 0.0, "schedule": "normalised", "step_size": 1000.0, "l2": 3e-7, "steps": 200,
    },
    "yosinski-1": {**_PROGRESS, **_BLUR, "small_norm": 50.0, "steps": 500},
    "yosinski-2": {**_CAFFE, "decay": 0.3, "small_norm": 20.0, "steps": 750},
    "yosinski-3": {**_CAFFE, "decay": 1e-4, "blur_radius": 1.0, "blur_every": 4, "steps": 1000},
    "yosinski-4": {**_PROGRESS, **_BLUR, "step_size": 1e8, "small_contribution": 90.0, "steps": 1000},
    "cs231n": {
        "units": "deviations", "noise": 1.0, "schedule": "normalised", "step_size": 25.0, "l2": 1e-3, "steps": 100,
        "blur_radius": 0.5, "blur_every": 10, "jitter": 16,
    },
}  # fmt: skip


class ClassVisualizationParams(ImageParams):
    """Parameters of `class_visualization`; presets are named after their papers."""

    presets: ClassVar[dict[str, dict[str, Any]]] = _PRESETS

    preset: str = Field(
        "yosinski-3",
        description=(
            "Named values: `yosinski-1` to `yosinski-4`, the four settings that the authors recommend; `cs231n`, the "
            "assignment's; `simonyan-2013`, whose paper gives no numbers, so that steps and weight are ours."
        ),
    )
    target: TargetField = Field(target_field("class:0"), description="What to make a picture of: a class or a unit.")
    start: Literal["auto", "zero", "noise", "image"] = Field(
        "auto",
        description="Where to begin: `zero` is the mean colour; `auto` the `image` where one is given, else `noise`.",
    )
    noise: float = Field(10.0, ge=0, le=255, description="Standard deviation of the noise to begin with, in `units`.")
    units: Units = Field("bytes", description=UNITS_HELP)
    steps: int = Field(1000, ge=1, le=100_000, description="Steps of gradient ascent.")
    step_size: float = Field(
        100.0, gt=0, le=1e12, description="What the gradient is multiplied with; its upper limit with `progress`."
    )
    schedule: Schedule = Field(
        "constant",
        description=(
            "`constant`; `progress`: as large a step as gains `progress`, at most `step_size`; `normalised`: a step "
            "of length `step_size`."
        ),
    )
    progress: float = Field(2.0, gt=0, le=1e6, description="Gain of the objective wanted in a step of `progress`.")
    l2: float = Field(0.0, ge=0, le=1e3, description="Weight of the squared norm in the objective (Simonyan).")
    decay: float = Field(0.0, ge=0, lt=1, description="Share of the picture that each step takes away (L2 decay).")
    blur_radius: float = Field(0.0, ge=0, le=32, description="Standard deviation of the blur, pixels; 0 for none.")
    blur_every: int = Field(0, ge=0, le=100_000, description="Blur in every so many steps; 0 for never.")
    small_norm: float = Field(
        0.0, ge=0, lt=100, description="Percentile of the pixels' norms below which they become mean colour."
    )
    small_contribution: float = Field(
        0.0, ge=0, lt=100, description="Percentile of |x·gradient| below which pixels become mean colour."
    )
    jitter: int = Field(0, ge=0, le=512, description="Each step sees the picture rolled by up to so many pixels.")
    size: int | None = Field(
        None, ge=16, le=2048, description="Edge of the picture in pixels; the network's own where absent."
    )
    preview_every: int = Field(10, ge=1, le=100_000, description="Show every so many steps.")

    def rules(self) -> Rules:
        """What happens to the picture in a step."""
        return Rules(**{name: getattr(self, name) for name in Rules.__dataclass_fields__})


@technique(
    "class_visualization",
    needs={"gradients"},
    cites="Simonyan et al. 2013, arXiv:1312.6034; Yosinski et al. 2015, arXiv:1506.06579",
    resumable=True,
    steers={*Rules.__dataclass_fields__, "target", "steps", "l2", "jitter", "preview_every"},
)
def class_visualization(run: Run[ClassVisualizationParams]) -> Iterator[Event]:
    """The picture that a class, or any unit, answers to most: gradient ascent on the pixels.

    Maximises S(x) - l2·‖x‖² over x, the picture less its mean colour. A step is x += rate·g; x *= 1 - decay; a
    Gaussian blur every `blur_every` steps; pixels of small norm, then those of small contribution |x·g|, become
    mean colour; values are clipped to a picture's range. Kept is the best objective met, counted anew from where a
    run is given another `target` or `l2`. Without rules a class may win with a picture that looks like noise: read
    `probability_shaken`, its mean over shifted copies, too. Image and tensor `class_visualization`, (3, H, W), hold
    the pixels that the network saw, which may be faint; `stretched` and the previews fill the range, as the authors'
    figures do.
    """
    canvas = Centred.of(run.network, run.params.units)
    code = _start(run, canvas)
    began = canvas.pixels(code)
    target = run.network.resolve(run.params.target, began)
    climb = _Climb(run, canvas, target)
    update = RegularisedAscent(run.params.rules(), canvas)
    descent = Descent(
        climb.objective, update, run.params.steps, canvas, run.params.preview_every, shown=canvas.stretched,
        steered={"target": str(target), "l2": run.params.l2},
    )  # fmt: skip
    with climb.state:
        outcome = yield from descent.run(run, code, caption=f"for {target}")
    pixels = _shown(outcome.pixels)
    yield Image("class_visualization", pixels, caption=f"what {target} answers to most")
    yield Image(
        "stretched", canvas.stretched(pixels), caption="the same, its contrast stretched around the mean colour"
    )
    yield Tensor("class_visualization", pixels[0], caption="pixels, 1 is white")
    yield Scores({"objective_before": -outcome.before["target"], "objective_after": -outcome.after["target"]})
    yield term_scores(outcome)
    yield picture_scores(pixels, began)
    yield from made_events(run.network, pixels, target, began)
    if target.kind == "class":
        yield from climb.events(pixels)


class _Climb:
    """The objective of one run, and what a class has been through on the way."""

    def __init__(self, run: Run[ClassVisualizationParams], canvas: Centred, target: Target) -> None:
        self._run, self._canvas, self._target = run, canvas, target
        self.state = state = run.state("climb", target=str(target), seen=0, won=None)
        if state.target != str(target):
            state.target, state.won = str(target), None

    def objective(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        params, jitter = self._run.params, self._run.params.jitter
        offset = self._run.rng.integers(-jitter, jitter + 1, 2).tolist() if jitter else (0, 0)
        terms = {"target": -self._score(pixels.roll(tuple(offset), (2, 3)) if jitter else pixels)}
        if params.l2:
            terms["l2"] = params.l2 * squared_norm(self._canvas.code(pixels))
        return terms

    def _score(self, pixels: torch.Tensor) -> torch.Tensor:
        if not self._target.is_class:
            return self._run.network.score(pixels, self._target).sum()
        logits = self._run.network.logits(pixels)
        if self.state.won is None and int(logits[0].argmax()) == self._target.index:
            self.state.won = self.state.seen
        self.state.seen += 1
        return self._run.network.target_value(self._target, logits=logits).sum()

    def events(self, pixels: torch.Tensor) -> Iterator[Event]:
        """When the class came on top first, and how it does where the picture is shifted."""
        if self.state.won is None:
            yield Note("the class was never on top: majority failure")
        else:
            yield Scores({"first_won_at_step": float(self.state.won)})
        if self._target.index is not None:
            yield Scores({"probability_shaken": self._shaken(pixels, self._target.index)})

    @torch.no_grad()
    def _shaken(self, pixels: torch.Tensor, index: int) -> float:
        offsets = self._run.rng.integers(-_FARTHEST, _FARTHEST + 1, (_SHAKEN, 2)).tolist()
        rolled = [pixels.roll(tuple(offset), (2, 3)) for offset in offsets]
        return sum(float(self._run.network.logits(x).softmax(1)[0, index]) for x in rolled) / _SHAKEN


def _start(run: Run[ClassVisualizationParams], canvas: Centred) -> torch.Tensor:
    params, given = run.params, len(run.image) > 0
    if params.start == "image" and not given:
        violation = FieldViolation("params.start", "start=image needs an image: give one, or start from noise")
        raise InvalidParams(violation.description, violations=[violation])
    if given and params.start in {"auto", "image"}:
        return canvas.code(run.image)
    size = params.size or run.network.input_size
    code = canvas.mean.new_zeros(1, 3, size, size)
    noise = 0.0 if params.start == "zero" else params.noise
    return canvas.clipped(code + noise * torch.randn(code.shape).to(code.device)) if noise else code


def _shown(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.detach().clamp(0, 1)
