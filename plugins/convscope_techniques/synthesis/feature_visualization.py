"""What a neuron, channel, layer, direction or class looks for (Olah, Mordvintsev & Schubert 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.events import Event, Image, ImageGrid, Note, Scores, Tensor
from convscope_sdk.params import ImageParams
from convscope_sdk.run import Run
from convscope_sdk.target import LayerRef, Target, TargetField
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.descent import Descent
from convscope_techniques.synthesis.image_code import Basis, ImageCode
from convscope_techniques.synthesis.made import made_events, picture_scores, term_scores
from convscope_techniques.synthesis.middle import middle_layer
from convscope_techniques.synthesis.penalty import total_variation
from convscope_techniques.synthesis.transforms import Shake
from convscope_techniques.synthesis.update import Adam
from convscope_techniques.synthesis.wish import Direction, dissimilarity, scores_of

__all__ = ["FeatureVisualizationParams", "feature_visualization"]

_LUCID: dict[str, Any] = {
    "basis": "fourier", "decorrelate": True, "size": 128, "steps": 512, "step_size": 0.05, "pad": 12, "jitter": 8,
    "scale": 0.1, "rotate": 10, "last_jitter": 4,
}  # fmt: skip
_BARE: dict[str, Any] = {
    **_LUCID, "basis": "pixel", "decorrelate": False, "pad": 0, "jitter": 0, "scale": 0, "rotate": 0, "last_jitter": 0,
}  # fmt: skip
_OBJECTIVE = {"target", "weights", "variation", "diversity", "cosine_power"}
_SHAKE = set(Shake.__dataclass_fields__)
_REDIRECTED = 16  # first steps in which units that never fire are given a gradient, as by lucid


class FeatureVisualizationParams(ImageParams):
    """Parameters of `feature_visualization`; the defaults are those of lucid's `render_vis`."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"lucid-2017": _LUCID, "bare": _BARE}

    preset: str = Field(
        "lucid-2017",
        description="Named values: `lucid-2017`; `bare`, ascent on pixels with nothing against noise, to compare.",
    )
    target: TargetField | None = Field(
        None,
        description="A neuron `blocks.4:17@3,3`, a channel, a layer or a class; channel 0 of a middle layer if absent.",
    )
    targets: tuple[TargetField, ...] = Field((), max_length=16, description="Several targets in place of `target`.")
    weights: tuple[float, ...] = Field(
        (), max_length=16, description="A factor for each of `targets`, 1 where absent; negative for the opposite."
    )
    combine: Literal["sum", "batch"] = Field(
        "sum", description="One picture for the weighted `sum` of targets, or a `batch` with one for each."
    )
    layer: LayerRef | None = Field(None, description="The layer of `direction`.")
    direction: tuple[float, ...] = Field(
        (), max_length=65_536, description="A number for each channel of `layer`, in place of targets."
    )
    cosine_power: float = Field(
        0.0, ge=0, le=16, description="How much more the angle to `direction` counts than the length along it."
    )
    samples: int = Field(1, ge=1, le=16, description="Pictures for the one objective, each from noise of its own.")
    diversity: float = Field(
        0.0, ge=0, le=1e6, description="Weight of the unlikeness of `samples` at the targets' layer; lucid has 100."
    )
    basis: Basis = Field("fourier", description="Optimise the `fourier` spectrum or the `pixel` values.")
    decorrelate: bool = Field(True, description="Optimise in ImageNet's principal colours.")
    steps: int = Field(512, ge=1, le=100_000, description="Steps of Adam.")
    step_size: float = Field(0.05, gt=0, le=100, description="Adam's step size.")
    variation: float = Field(0.0, ge=0, le=1e6, description="Weight of the total variation, squared differences.")
    pad: int = Field(12, ge=0, le=256, description="Grey pixels around the picture, for the jitter to move in.")
    jitter: int = Field(8, ge=0, le=512, description="Pixels that a random crop takes off each axis.")
    scale: float = Field(0.1, ge=0, le=0.9, description="Scaled at random by up to this share.")
    rotate: int = Field(10, ge=0, le=180, description="Turned at random by up to so many degrees.")
    last_jitter: int = Field(4, ge=0, le=512, description="Pixels that a second random crop takes off each axis.")
    size: int | None = Field(128, ge=16, le=2048, description="Edge of the picture in pixels.")
    preview_every: int = Field(16, ge=1, le=100_000, description="Show every so many steps.")

    @model_validator(mode="after")
    def _one_wish(self) -> Self:
        if sum((self.target is not None, bool(self.targets), bool(self.direction))) > 1:
            raise ValueError("give one of target, targets and direction")
        if bool(self.direction) != (self.layer is not None):
            raise ValueError("direction and layer go together: the layer whose channels the numbers are for")
        if self.weights and len(self.weights) != len(self.targets):
            raise ValueError(f"{len(self.weights)} weights for {len(self.targets)} targets; give one for each")
        if self.combine == "batch" and self.samples > 1:
            raise ValueError("samples are for one objective; leave them at 1 for a batch of objectives")
        if self.diversity and self.samples == 1:
            raise ValueError("diversity needs samples=2 or more")
        return self


@technique(
    "feature_visualization",
    needs={"gradients"},
    cites="Olah, Mordvintsev & Schubert 2017, doi:10.23915/distill.00007",
    resumable=True,
    steers={*_OBJECTIVE, *_SHAKE, "steps", "step_size", "preview_every"},
)
def feature_visualization(run: Run[FeatureVisualizationParams]) -> Iterator[Event]:
    """What a neuron, channel, layer, direction or class looks for: a picture made for it, robust to small changes.

    Maximises the target's score of a shaken picture sigmoid(C·F⁻¹(code / frequency)): the code is the spectrum, C
    turns ImageNet's principal colours into RGB, and every step pads with grey, crops, scales and rotates at random.
    Adam. In the first 16 steps gradients go around ReLUs that let none through, or a unit that does not fire would
    leave the picture grey. Where an image is given, it is where the picture begins. `feature_visualization`, a
    picture, or a grid of several with a tensor of all, (B, 3, H, W). What one sees depends on these priors too: `bare`
    shows how much.
    """
    wish = _Wish(run)
    begin = wish.begin()
    descent = Descent(
        wish.objective, Adam(run.params.step_size), run.params.steps, wish.code, run.params.preview_every,
        shown=_row, keep="last", steered=run.params.model_dump(mode="json", include=_OBJECTIVE),
    )  # fmt: skip
    yield Note(f"visualizes {wish.name}")
    with wish.state:
        outcome = yield from descent.run(run, begin, caption=wish.name)
    before, pixels = wish.code.pixels(begin), outcome.pixels.detach()
    if len(pixels) == 1:
        yield Image("feature_visualization", pixels, caption=f"what {wish.name} looks for")
        yield Tensor("feature_visualization", pixels[0], caption="pixels, 1 is white")
        yield from made_events(run.network, pixels, wish.targets[0] if len(wish.targets) == 1 else None, before)
    else:
        yield ImageGrid("feature_visualization", pixels, labels=wish.labels, caption=f"what {wish.name} looks for")
        yield Tensor("feature_visualization", pixels, caption="pixels, 1 is white")
    yield Scores(wish.report(before, pixels))
    yield term_scores(outcome)
    yield picture_scores(pixels, before)


class _Wish:
    """The objective of one run."""

    def __init__(self, run: Run[FeatureVisualizationParams]) -> None:
        params, network = run.params, run.network
        self._run = run
        height, width = run.image.shape[-2:] if len(run.image) else (params.size or network.input_size,) * 2
        self.code = ImageCode(height, width, params.basis, params.decorrelate)
        self._shake = Shake(params.pad, params.jitter, params.scale, params.rotate, params.last_jitter)
        self._check_room(min(height, width))
        self.direction = self._direction()
        blank = torch.full((1, 3, height, width), 0.5, device=network.device)
        self.targets = [] if self.direction else [network.resolve(target, blank) for target in self._asked()]
        self._at_place = any(target.kind == "neuron" for target in self.targets)
        self._weights = torch.tensor(params.weights or (1.0,) * len(self.targets), device=network.device)
        self.state = run.state("wish", seen=0)

    @property
    def name(self) -> str:
        if self.direction is not None:
            return f"a direction in {self.direction.layer}"
        parts = [str(t) if w == 1 else f"{w:g}·{t}" for t, w in zip(self.targets, self._weights.tolist(), strict=True)]
        return (", " if self._run.params.combine == "batch" else " + ").join(parts)

    @property
    def labels(self) -> Sequence[str]:
        if self._run.params.combine == "batch":
            return [str(target) for target in self.targets]
        return [f"sample {index + 1}" for index in range(self._run.params.samples)]

    def begin(self) -> torch.Tensor:
        params = self._run.params
        batch = len(self.targets) if params.combine == "batch" else params.samples
        noise = self.code.noise(batch, self._run.network.device)
        return noise + self.code.code(self._run.image) if len(self._run.image) else noise

    def objective(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        params = self._run.params
        seen = self._shake(pixels, self._run.rng)
        self.state.seen += 1
        with self._run.network.gradient_rule("redirected") if self.state.seen <= _REDIRECTED else nullcontext():
            terms = {"target": -self.scores(_back_to(seen, pixels.shape[-2:]) if self._at_place else seen).sum()}
        if params.variation:
            terms["variation"] = params.variation * total_variation(pixels)
        if params.diversity:
            layer = self.direction.layer if self.direction else self.targets[0].layer
            features = self._run.network.activations(seen, layer or "penultimate")
            terms["diversity"] = -params.diversity * dissimilarity(next(iter(features.values())))
        return terms

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B,) of each picture."""
        network = self._run.network
        if self.direction is not None:
            return self.direction.score(network, pixels)
        by_target = scores_of(network, pixels, self.targets) * self._weights[:, None]
        return by_target.diagonal() if self._run.params.combine == "batch" else by_target.sum(0)

    @torch.no_grad()
    def report(self, before: torch.Tensor, after: torch.Tensor) -> dict[str, float]:
        """The objective of the unshaken pictures, at the start and at the end."""
        values = self.scores(before), self.scores(after)
        named = {"objective_before": float(values[0].sum()), "objective_after": float(values[1].sum())}
        if len(after) > 1:
            named |= {f"objective_after_{label}": float(v) for label, v in zip(self.labels, values[1], strict=True)}
        return named

    def _asked(self) -> Sequence[Target]:
        params = self._run.params
        if params.targets:
            return params.targets
        return (params.target or Target.parse(f"{middle_layer(self._run.network)}:0"),)

    def _direction(self) -> Direction | None:
        params, network = self._run.params, self._run.network
        if params.layer is None:
            return None
        vector = torch.tensor(params.direction, device=network.device)
        return Direction(network.layer(params.layer).name, vector, params.cosine_power)

    def _check_room(self, edge: int) -> None:
        shake = self._shake
        left = int((edge + 2 * shake.pad - shake.jitter) * (1 - shake.scale)) - shake.last_jitter
        if left < 1:
            text = f"jitter leaves nothing of a picture of {edge} px; take at most {edge // 4}, or a larger size"
            raise InvalidParams(text, violations=[FieldViolation("params.jitter", text)])


def _back_to(pixels: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The middle of a picture, or it on grey: a neuron has its place in one size only."""
    down, across = (wanted - edge for wanted, edge in zip(size, pixels.shape[-2:], strict=True))
    left, top = across // 2, down // 2
    return torch.nn.functional.pad(pixels, (left, across - left, top, down - top), value=0.5)


def _row(pixels: torch.Tensor) -> torch.Tensor:
    return torch.cat(list(pixels.detach()), dim=-1)[None]
