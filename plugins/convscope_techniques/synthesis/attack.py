"""What the techniques share that make a network mistake one picture: the case, the verdict, and the report."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from convscope_sdk import events
from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.network import Network
from convscope_sdk.params import ImageParams
from convscope_sdk.run import Run
from convscope_sdk.target import Target, TargetField, target_field
from convscope_techniques.layout import for_convolutions
from convscope_techniques.synthesis.ball import Ball, Norm
from convscope_techniques.synthesis.eight_bits import reread
from convscope_techniques.synthesis.folded_norms import FoldedNorms
from convscope_techniques.synthesis.made import picture_scores

__all__ = ["AttackParams", "BallParams", "Case", "Verdict", "attacked", "results"]

_TOP = 5
_EPSILONS: dict[Norm, float] = {"linf": 8 / 255, "l2": 1.0}


class AttackParams(ImageParams):
    """Parameters of every attack."""

    target: TargetField | None = Field(
        None, description="The class that the picture is to be taken for; any but `label` where absent."
    )
    label: TargetField = Field(
        target_field("top1"),
        description="What the picture really shows; `top1` takes the network at its word.",
    )
    magnify: float = Field(
        10.0, ge=1, le=1000, description="The picture `difference` shows the change so many times enlarged, on grey."
    )


class BallParams(AttackParams):
    """Parameters of the attacks that keep within a ball around the picture."""

    norm: Norm = Field("linf", description="What is bounded: the largest change, `linf`, or the Euclidean norm, `l2`.")
    epsilon: float | None = Field(
        None, gt=0, le=1000, description="The bound, for pixels in [0, 1]; 8/255 for `linf` and 1 for `l2` if absent."
    )
    sweep: tuple[float, ...] = Field(
        (),
        max_length=64,
        description="Bounds in place of `epsilon`, tried from the smallest up; the first that works is the result.",
    )

    @model_validator(mode="after")
    def _bounds_are_bounds(self) -> Self:
        if any(not 0 < bound <= 1000 for bound in self.sweep):  # noqa: PLR2004 - epsilon's own limit
            raise ValueError("bounds to sweep are above 0 and at most 1000")
        return self

    def bounds(self) -> list[float]:
        """The bounds to try, smallest first."""
        return sorted(set(self.sweep)) or [self.epsilon or _EPSILONS[self.norm]]


P = TypeVar("P", bound=BallParams)
Q = TypeVar("Q", bound=AttackParams)


@dataclass(frozen=True, slots=True)
class Case:
    """A picture, what it shows, and what it is to be taken for.

    Attributes:
        network: The one to be fooled.
        image: (1, 3, H, W).
        label: Index of the class that it shows.
        target: Index of the class that it is to be taken for; None for any other.
        logits: (1, classes) of the picture.
    """

    network: Network
    image: Tensor
    label: int
    target: int | None
    logits: Tensor

    @classmethod
    def of(cls, run: Run[Q]) -> Case:
        """The case of a run.

        Raises:
            InvalidParams: label or target is no class, or they are the same.
        """
        with torch.no_grad():
            logits = run.network.logits(for_convolutions(run.image))
        label = _class_of(run.network, run.params.label, logits, "label")
        target = None if run.params.target is None else _class_of(run.network, run.params.target, logits, "target")
        if target == label:
            raise _refused("target", f"the picture shows {run.network.label(label)} already; take another class")
        return cls(run.network, run.image, label, target, logits)

    @property
    def winner(self) -> int:
        """What the network takes the picture for."""
        return int(self.logits[0].argmax())

    @property
    def already(self) -> str:
        """Why there is nothing to attack; empty where there is."""
        seen = self.network.label(self.winner)
        if self.target is not None and self.winner == self.target:
            return f"the network takes the picture for {seen} already"
        if self.target is None and self.winner != self.label:
            return f"the network is wrong already: it takes {self.network.label(self.label)} for {seen}"
        return ""

    @property
    def untouched(self) -> Verdict:
        """What the network says to the picture as it is, which has 8-bit values."""
        return Verdict(self.image, self.image, self.logits, bool(self.already))

    def uphill(self, pixels: Tensor) -> Tensor:
        """The gradient of what an attack makes large: the label's cross-entropy, or minus the target's."""
        wanted = self.label if self.target is None else self.target
        with FoldedNorms(), torch.enable_grad():
            leaf = for_convolutions(pixels.detach()).requires_grad_()
            index = torch.tensor([wanted], device=leaf.device)
            loss = functional.cross_entropy(self.network.logits(leaf), index)
            (gradient,) = torch.autograd.grad(loss if self.target is None else -loss, leaf)
        return gradient.contiguous()

    @torch.no_grad()
    def judged(self, exact: Tensor, pixels: Tensor) -> Verdict:
        """What the network says to the PNG of `pixels`, which an attack's `exact` ones were rounded to."""
        read = reread(pixels)
        logits = self.network.logits(for_convolutions(read))
        winner = int(logits[0].argmax())
        fooled = winner != self.label if self.target is None else winner == self.target
        return Verdict(exact, read, logits, fooled)


class Verdict(NamedTuple):
    """An attack's outcome: its pixels as computed, as read from the PNG, the logits of those, and whether they fool."""

    exact: Tensor
    pixels: Tensor
    logits: Tensor
    fooled: bool


Attack = Callable[[Case, Ball, int, int], Generator[events.Event, None, Tensor]]
"""From a case, a ball, and the steps done and in total, to the attacked pixels as computed."""


def attacked(run: Run[P], attack: Attack, steps: int) -> Iterator[events.Event]:
    """The events of a run that attacks within one ball, or ever larger ones; `steps` are those within one.

    The rows of bounds that were tried are in a state, "sweep", for attacks with steps of their own to be put down in.
    """
    case, params = Case.of(run), run.params
    bounds = params.bounds()[:1] if case.already else params.bounds()
    verdict, ball = case.untouched, Ball(params.norm, bounds[0])
    with run.state("sweep", rows=[]) as sweep:
        for bound in bounds[len(sweep.rows) :]:
            ball = Ball(params.norm, bound)
            exact = yield from attack(case, ball, len(sweep.rows) * steps, len(bounds) * steps)
            verdict = case.judged(exact, ball.on_grid(case.image, exact))
            sweep.rows = [*sweep.rows, _row(case, bound, verdict)]
            if verdict.fooled and not case.already:
                break
    yield from results(case, verdict, params.magnify)
    yield events.Scores({"epsilon": ball.epsilon})
    if params.sweep:
        yield events.Table("sweep", sweep.rows, caption=f"bounds on {params.norm}, smallest first")
    if params.sweep and verdict.fooled and not case.already:
        yield events.Scores({"smallest_epsilon": ball.epsilon})


def results(case: Case, verdict: Verdict, magnify: float) -> Iterator[events.Event]:
    """Before, after and the difference; probabilities; and whether the saved picture fools the network."""
    network, change = case.network, verdict.pixels - case.image
    success = verdict.fooled and not case.already
    after = network.label(int(verdict.logits[0].argmax()))
    difference = (0.5 + magnify * change).clamp(0, 1)
    yield events.Image("adversarial", verdict.pixels, caption=f"taken for {after}")
    yield events.Image("difference", difference, caption=f"the change {magnify:g} times enlarged, on grey")
    labels = (network.label(case.winner), after, f"difference x{magnify:g}")
    tiles = [case.image, verdict.pixels, difference]
    yield events.ImageGrid("comparison", tiles, labels=labels, columns=3, caption="before, after, and what changed")
    yield events.Tensor("adversarial", verdict.exact[0], caption="as computed, before it is rounded to 8 bits")
    yield events.Tensor("difference", change[0], caption="of the saved picture to the given one")
    yield events.Table("probabilities", _probabilities(case, verdict), caption="of the given and of the saved picture")
    yield events.Predictions(network.predictions(verdict.logits))
    yield events.Scores(
        {
            "success": float(success),
            "correct_before": float(case.winner == case.label),
            **_shares(case, verdict),
        }
    )
    yield picture_scores(verdict.pixels, case.image)
    if case.winner != case.label and not case.already:
        yield events.Note(f"already wrong before: {labels[0]} in place of {network.label(case.label)}")
    yield events.Note(_said(case, verdict, after))


def _said(case: Case, verdict: Verdict, after: str) -> str:
    if case.already:
        return f"{case.already}; an attack proves nothing, so no success is claimed"
    if verdict.fooled:
        return f"fooled: the saved picture, decoded again, is taken for {after}"
    if float((verdict.pixels - case.image).abs().max()) == 0:
        return "nothing is left of the change in 8 bits: take a larger epsilon"
    return f"not fooled: the saved picture is taken for {after}; allow a larger change, or more steps"


def _shares(case: Case, verdict: Verdict) -> dict[str, float]:
    before, after = case.logits[0].softmax(0), verdict.logits[0].softmax(0)
    shares = {
        "label_probability_before": float(before[case.label]),
        "label_probability_after": float(after[case.label]),
    }
    if case.target is not None:
        shares["target_probability_before"] = float(before[case.target])
        shares["target_probability_after"] = float(after[case.target])
    return shares


def _probabilities(case: Case, verdict: Verdict) -> list[dict[str, Any]]:
    before, after = case.logits[0].softmax(0), verdict.logits[0].softmax(0)
    count = min(_TOP, len(before))
    shown = dict.fromkeys([*after.topk(count).indices.tolist(), *before.topk(count).indices.tolist()])
    return [
        {"class": i, "label": case.network.label(i), "before": float(before[i]), "after": float(after[i])}
        for i in shown
    ]


def _row(case: Case, bound: float, verdict: Verdict) -> dict[str, Any]:
    top = int(verdict.logits[0].argmax())
    change = verdict.pixels - case.image
    return {
        "epsilon": bound,
        "fooled": verdict.fooled,
        "label": case.network.label(top),
        "probability": float(verdict.logits[0].softmax(0)[top]),
        "l2": float(change.norm()),
        "linf": float(change.abs().max()),
    }


def _class_of(network: Network, target: Target, logits: Tensor, field: str) -> int:
    if target.kind not in {"class", "top"}:
        raise _refused(
            field,
            f'{target} is no class: write class:285, class:"Egyptian cat" or top2; units are for feature_visualization',
        )
    index = network.resolve(target, logits=logits).index
    assert index is not None, "a class is resolved to its index"
    return index


def _refused(field: str, text: str) -> InvalidParams:
    return InvalidParams(text, violations=[FieldViolation(f"params.{field}", text)])
