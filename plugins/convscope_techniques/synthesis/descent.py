"""The loop that changes a picture until an objective is small."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from convscope_sdk.errors import TechniqueError
from convscope_sdk.events import Event, Preview, Progress
from convscope_sdk.run import Run
from convscope_sdk.state import State
from convscope_techniques.synthesis.parameterization import PIXELS, Parameterization
from convscope_techniques.synthesis.update import Update

__all__ = ["Descent", "Objective", "Outcome"]

Objective = Callable[[Tensor], Mapping[str, Tensor]]
"""From pixels (B, 3, H, W) to named scalars; their sum is made small, so weights are already in them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a descent arrived at.

    Attributes:
        pixels: (B, 3, H, W).
        code: What stands for them.
        before, after: The objective's terms at the start, or where the objective was changed last, and at `pixels`.
        steps: How many were taken.
    """

    pixels: Tensor
    code: Tensor
    before: Mapping[str, float]
    after: Mapping[str, float]
    steps: int


@dataclass(frozen=True, slots=True)
class Descent:
    """Minimises an objective over a picture, a step at a time.

        outcome = yield from Descent(lambda pixels: {"dark": pixels.mean()}, Adam(0.01), steps=50).run(run, start)

    The run can be put down behind each step. An objective that counts or draws keeps that in a state around this.
    To maximise, give terms a minus. Penalties are terms; a transformation of the picture comes first in the objective.

    Attributes:
        objective: What is made small. It is asked once a step, and once at the end.
        update: How the code moves.
        steps: Evaluations of the gradient.
        parameterization: What a code stands for, and its bounds: codes are clipped to them, and at a bound the
            part of the gradient that points outside is left out.
        preview_every: Show every so many steps, and the last.
        shown: From pixels to the picture of a preview.
        keep: The code of the lowest objective met, or the last, for objectives that differ from step to step.
        steered: The parameters by which the objective may become another one while the run is put down. What was
            reached under others is not compared with what comes then.
    """

    objective: Objective
    update: Update
    steps: int
    parameterization: Parameterization = PIXELS
    preview_every: int = 10
    shown: Callable[[Tensor], Tensor] = torch.detach
    keep: Literal["best", "last"] = "best"
    steered: Mapping[str, Any] = field(default_factory=dict)

    def run(
        self, run: Run[Any], code: Tensor, *, done: int = 0, total: int | None = None, caption: str = ""
    ) -> Generator[Event, None, Outcome]:
        """Progress with each term as a metric, previews, states, and the outcome as the generator's value.

        Args:
            run: Keeps the state "descent".
            code: Where to start.
            done: Steps of the run before this descent.
            total: Steps of the run; those of this descent where absent.
            caption: Of the previews.

        Raises:
            TechniqueError: the objective is not finite at the start.
        """
        with self._begun(run, code.detach()) as state:
            point = self._met(state)
            while state.step < self.steps:
                moved = self.update.next(point.code, point.value, point.gradient)
                state.code = moved.clamp(self.parameterization.low, self.parameterization.high)
                state.step += 1
                yield Progress(done + state.step, total or self.steps, point.metrics)
                if state.step % self.preview_every == 0 or state.step == self.steps:
                    yield Preview(self.shown(self.parameterization.pixels(state.code)), caption=caption)
                yield state
                point = self._met(state)
            _, code, terms = state.best or (point.value, point.code, point.terms)
            return Outcome(self.parameterization.pixels(code), code, state.first, terms, state.step)

    def _begun(self, run: Run[Any], code: Tensor) -> State:
        """The state: at the start, or where the run was put down."""
        steered = dict(self.steered)
        state = run.state("descent", code=code, step=0, update=self.update, first=None, best=None, steered=steered)
        if state.steered != steered:
            state.first, state.best, state.steered = None, None, steered
            self.update.forget_values()
        return state

    def _met(self, state: State) -> _Point:
        """The objective at the state's code, which may be the first, and the best so far if that is to be kept."""
        point = self._at(state.code, differentiate=state.step < self.steps)
        if state.first is None:
            _check(point)
            state.first = point.terms
        if self.keep == "best" and (state.best is None or point.value <= state.best[0]):
            state.best = point.value, point.code, point.terms
        return point

    def _at(self, code: Tensor, *, differentiate: bool = True) -> _Point:
        with torch.set_grad_enabled(differentiate):
            leaf = code.detach().requires_grad_(differentiate)
            terms = self.objective(self.parameterization.pixels(leaf))
            total = torch.stack(list(terms.values())).sum()
            gradient = torch.autograd.grad(total, leaf)[0] if differentiate else code
        low, high = self.parameterization.low, self.parameterization.high
        outward = ((code <= low) & (gradient > 0)) | ((code >= high) & (gradient < 0))
        values = torch.stack([term.detach() for term in terms.values()]).tolist()
        named = dict(zip(terms, values, strict=True))
        return _Point(code, float(total.detach()), named, gradient.masked_fill(outward, 0))


@dataclass(frozen=True, slots=True)
class _Point:
    """A code with its objective."""

    code: Tensor
    value: float
    terms: Mapping[str, float]
    gradient: Tensor

    @property
    def metrics(self) -> dict[str, float]:
        """The terms and their sum, as far as they are numbers."""
        named = {**self.terms, "objective": self.value}
        return {name: value for name, value in named.items() if math.isfinite(value)}


def _check(point: _Point) -> None:
    if not (math.isfinite(point.value) and bool(point.gradient.isfinite().all())):
        raise TechniqueError(
            f"the objective is {point.value} at the start, or has no finite gradient: there is no way down; take "
            "another layer or picture, or smaller weights",
            reason="NO_GRADIENT",
        )
