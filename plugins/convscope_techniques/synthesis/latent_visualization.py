"""What a class, or any unit, answers to most among the pictures that a generator can make (Nguyen et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from convscope_sdk.errors import FieldViolation, InvalidParams, NotApplicable
from convscope_sdk.events import Event, Image, ImageGrid, Note, Scores, Tensor
from convscope_sdk.params import ImageParams
from convscope_sdk.run import Run
from convscope_sdk.target import TargetField, target_field
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.descent import Descent, Outcome
from convscope_techniques.synthesis.latent import Latent
from convscope_techniques.synthesis.latent_ascent import CodeRules, LatentAscent
from convscope_techniques.synthesis.made import made_events, picture_scores

__all__ = ["LatentVisualizationParams", "latent_visualization"]

_NGUYEN: dict[str, Any] = {
    "steps": 200, "step_size": 8.0, "step_unit": "code", "final_step_size": 1e-10, "decay": 0.01, "bound": 3.0,
    "noise": 0.0,
}  # fmt: skip
# The scripts' 8 is for the fc6 of CaffeNet, whose units spread by several; where they spread by less, such steps leap
# from bound to bound, and the colours are those of a code at its bounds.
_GENTLE: dict[str, Any] = {**_NGUYEN, "step_size": 0.75, "step_unit": "sigma"}


class LatentVisualizationParams(ImageParams):
    """Parameters of `latent_visualization`; but for the step size, the defaults are those of the authors' scripts."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"nguyen-2016": _NGUYEN, "gentle": _GENTLE}

    preset: str = Field(
        "gentle",
        description="Named values: `nguyen-2016`, those of DGN-AM, for CaffeNet's fc6; `gentle`, the same with a first "
        "step of 0.75 deviations, for generators of any layer.",
    )
    generator: str = Field(
        "inversion_efficientnet_lite0",
        min_length=1,
        max_length=200,
        description="Model of kind generator whose codes are searched; `inversion_network_training` makes one.",
    )
    target: TargetField = Field(target_field("class:0"), description="What to make a picture of: a class or a unit.")
    samples: int = Field(1, ge=1, le=16, description="Pictures, each from a code of its own.")
    start: Literal["auto", "zero", "noise", "image"] = Field(
        "auto",
        description="The first code: `zero`; `noise` of the units' deviations; that of the `image`, for generators "
        "that say whose layer they invert; `auto` the last where an image is given, else `noise`.",
    )
    steps: int = Field(200, ge=1, le=100_000, description="Steps of normalised gradient ascent.")
    step_size: float = Field(0.75, gt=0, le=1e6, description="Mean change of a unit in the first step.")
    step_unit: Literal["code", "sigma"] = Field(
        "sigma",
        description="What step sizes count in: the `code`'s own numbers, or `sigma`, its units' mean deviation.",
    )
    final_step_size: float = Field(1e-10, ge=0, le=1e6, description="What it has fallen to after the last, in a line.")
    decay: float = Field(0.01, ge=0, lt=1, description="Share of the code that each step takes away (L2 0.99).")
    bound: float = Field(3.0, gt=0, le=1e3, description="Units are kept within so many standard deviations of 0.")
    noise: float = Field(
        0.0, ge=0, le=10, description="Normal noise added in each step, in units' deviations (epsilon 3 of PPGN)."
    )
    size: int | None = Field(
        None, ge=16, le=2048, description="Edge of the picture in pixels; the network's own where absent."
    )
    preview_every: int = Field(5, ge=1, le=100_000, description="Show every so many steps.")


@technique(
    "latent_visualization",
    needs={"gradients"},
    cites="Nguyen et al. 2016, arXiv:1605.09304; Dosovitskiy & Brox 2016, arXiv:1602.02644",
    resumable=True,
    steers={"target", "steps", "step_size", "final_step_size", "decay", "noise", "preview_every"},
)
def latent_visualization(run: Run[LatentVisualizationParams]) -> Iterator[Event]:
    """The picture that a class, or any unit, answers to most among those that a generator makes (DGN-AM).

    Maximises S(G(h)) over a code h of the generator G: h += rate · g / mean|g|, the rate falling in a line; each unit
    is clipped to [0, bound · s], s its standard deviation, or to ±bound · s where codes may be negative; h *= 1 -
    decay. The network sees the middle of what G makes. As in the authors' scripts the last code is kept, not the best.
    `latent_visualization` is the picture, or a grid of `samples`; tensors hold pixels and `code`. What G has not seen
    it cannot paint: a small generator gives colours, outlines and textures, not objects.
    """
    search = _Search(run)
    begin = search.begin()
    yield Note(search.note)
    before = search.latent.pixels(begin).detach()
    params = run.params
    update = LatentAscent(search.rules)
    descent = Descent(
        search.objective, update, params.steps, search.latent, params.preview_every, shown=_row, keep="last",
        steered={"target": str(search.target)},
    )  # fmt: skip
    outcome = yield from descent.run(run, begin, caption=f"for {search.target}")
    yield from search.results(outcome, before)


class _Search:
    """What one run looks for, and where."""

    def __init__(self, run: Run[LatentVisualizationParams]) -> None:
        params, network = run.params, run.network
        self._run = run
        self._generator = run.model(params.generator)
        size = run.image.shape[-1] if len(run.image) and params.size is None else params.size or network.input_size
        self.latent = Latent.of(self._generator, size)
        sigma = self.latent.sigma
        facts = self._generator.spec.codes
        low = torch.zeros_like(sigma) if facts is None or facts.rectified else -params.bound * sigma
        unit = float(sigma.mean()) if params.step_unit == "sigma" else 1.0
        self.rules = CodeRules(
            params.steps, unit * params.step_size, unit * params.final_step_size,
            low, params.bound * sigma, sigma, 1 - params.decay, params.noise,
        )  # fmt: skip
        blank = torch.full((1, 3, size, size), 0.5, device=network.device)
        self.target = network.resolve(params.target, blank)

    @property
    def note(self) -> str:
        facts, spec = self._generator.spec.codes, self._generator.spec
        whose = f", which inverts {facts.layer} of {facts.of_model}" if facts and facts.of_model else ""
        return f"{self.target} through {spec.name}{whose}; codes have the shape {self.latent.code_shape}"

    def begin(self) -> torch.Tensor:
        """Codes to start with, within bounds."""
        params, shape = self._run.params, (self._run.params.samples, *self.latent.code_shape)
        given = len(self._run.image) > 0
        if params.start == "image" and not given:
            violation = FieldViolation("params.start", "start=image needs an image: give one, or start from noise")
            raise InvalidParams(violation.description, violations=[violation])
        if given and params.start in {"auto", "image"}:
            code = self._code_of_image().expand(shape)
        elif params.start == "zero":
            code = torch.zeros(shape, device=self._run.network.device)
        else:
            code = torch.randn(shape).to(self._run.network.device) * self.rules.sigma
        return code.clamp(self.rules.low, self.rules.high)

    def objective(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        return {"target": -self._run.network.score(pixels, self.target).sum()}

    def results(self, outcome: Outcome, before: torch.Tensor) -> Iterator[Event]:
        network, pixels, caption = self._run.network, outcome.pixels.detach(), f"what {self.target} answers to most"
        if len(pixels) == 1:
            yield Image("latent_visualization", pixels, caption=caption)
            yield Tensor("latent_visualization", pixels[0], caption="pixels, 1 is white")
        else:
            labels = [f"sample {index + 1}" for index in range(len(pixels))]
            yield ImageGrid("latent_visualization", pixels, labels=labels, caption=caption)
            yield Tensor("latent_visualization", pixels, caption="pixels, 1 is white")
        yield Tensor("code", outcome.code.detach(), caption=f"what {self._generator.name} made them of")
        yield from made_events(network, pixels[:1], self.target)
        yield Scores(self._scores(before, pixels))
        yield Scores(self._code_scores(outcome.code))
        yield picture_scores(pixels, before)

    # How

    @torch.no_grad()
    def _scores(self, before: torch.Tensor, after: torch.Tensor) -> dict[str, float]:
        network, target = self._run.network, self.target
        first, last = network.score(before, target), network.score(after, target)
        scores = {"objective_before": float(first.mean()), "objective_after": float(last.mean())}
        if len(after) == 1:
            return scores
        if target.kind == "class" and target.index is not None:
            logits = network.logits(after)
            scores["target_probability"] = float(logits.softmax(1)[:, target.index].mean())
            scores["target_won"] = float((logits.argmax(1) == target.index).float().mean())
        return scores | {"diversity": _diversity(after)}

    def _code_scores(self, code: torch.Tensor) -> dict[str, float]:
        low, high = self.rules.low, self.rules.high
        inside = (code >= low) & (code <= high)
        assert bool(inside.all()), "a code left its bounds"
        # The last rule takes a share of what was at the bound.
        near = high * self.rules.keep * (1 - 1e-6)
        return {
            "code_at_bound": float((code >= near).float().mean()),
            "code_at_zero": float((code == 0).float().mean()),
            "code_farthest": float((code.abs() / self.rules.sigma.clamp(min=1e-12)).max()),
        }

    @torch.no_grad()
    def _code_of_image(self) -> torch.Tensor:
        facts = self._generator.spec.codes
        if facts is None or not facts.of_model:
            raise NotApplicable(
                f"{self._generator.name} does not say whose layer it inverts, so a picture has no code; use start=noise"
            )
        code = self._run.model(facts.of_model).activations(self._run.image, facts.layer)[facts.layer]
        if tuple(code.shape[1:]) != self.latent.code_shape:
            raise NotApplicable(
                f"the picture's code has the shape {tuple(code.shape[1:])}, and {self._generator.name} takes "
                f"{self.latent.code_shape} for a picture of {self.latent.size} px; use fit=crop and another size"
            )
        return code


def _diversity(pixels: torch.Tensor) -> float:
    """Mean absolute difference of two pictures of a batch, 1 is black beside white."""
    pairs = [(first - second).abs().mean() for first, second in combinations(pixels, 2)]
    return float(torch.stack(pairs).mean())


def _row(pixels: torch.Tensor) -> torch.Tensor:
    return torch.cat(list(pixels.detach()), dim=-1)[None]
