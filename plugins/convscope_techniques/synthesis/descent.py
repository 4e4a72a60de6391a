"""The loop that changes a picture until an objective is small."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from convscope_sdk.errors import TechniqueError
from convscope_sdk.events import Event, Preview, Progress
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
        before, after: The objective's terms at the start and at `pixels`.
    """

    pixels: Tensor
    code: Tensor
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Descent:
    """Minimises an objective over a picture, a step at a time.

        outcome = yield from Descent(lambda pixels: {"dark": pixels.mean()}, Adam(0.01), steps=50).run(start)

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
    """

    objective: Objective
    update: Update
    steps: int
    parameterization: Parameterization = PIXELS
    preview_every: int = 10
    shown: Callable[[Tensor], Tensor] = torch.detach
    keep: Literal["best", "last"] = "best"

    def run(
        self, code: Tensor, *, done: int = 0, total: int | None = None, caption: str = ""
    ) -> Generator[Event, None, Outcome]:
        """Progress with each term as a metric, previews, and the outcome as the generator's value.

        Args:
            code: Where to start.
            done: Steps of the run before this descent.
            total: Steps of the run; those of this descent where absent.
            caption: Of the previews.

        Raises:
            TechniqueError: the objective is not finite at the start.
        """
        first = best = point = self._at(code.detach())
        _check(first)
        for step in range(1, self.steps + 1):
            moved = self.update.next(point.code, point.value, point.gradient)
            moved = moved.clamp(self.parameterization.low, self.parameterization.high)
            yield Progress(done + step, total or self.steps, point.metrics)
            if step % self.preview_every == 0 or step == self.steps:
                yield Preview(self.shown(self.parameterization.pixels(moved)), caption=caption)
            point = self._at(moved, differentiate=step < self.steps)
            best = point if point.value <= best.value else best
        kept = best if self.keep == "best" else point
        return Outcome(self.parameterization.pixels(kept.code), kept.code, first.terms, kept.terms)

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
