"""How much each pixel adds to the score on the way from a baseline to the picture (Sundararajan et al. 2017)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from convscope_sdk import events
from convscope_sdk.events import Event, Heatmap, Note, Preview, Progress, Scores
from convscope_sdk.run import Run
from convscope_sdk.state import State
from convscope_sdk.target import Target
from convscope_techniques.attribution.attribution import Found, Reporting, attribution
from convscope_techniques.attribution.baseline import BASELINE_HELP, Baseline, baseline_of
from convscope_techniques.attribution.batches import BATCH_HELP, BatchField, batch_size
from convscope_techniques.attribution.capped import CAP_HELP, CapField, capped
from convscope_techniques.attribution.explained import explain
from convscope_techniques.attribution.gradients import gradients
from convscope_techniques.attribution.params import AttributionParams

__all__ = ["IntegratedGradientsParams", "integrated_gradients", "nodes"]

_ROUNDS = 4  # steps, and each time twice as many
_WORTH_SAYING = 0.01


class IntegratedGradientsParams(AttributionParams):
    """Parameters of `integrated_gradients`; the defaults are the paper's."""

    steps: int = Field(
        50, ge=1, le=1000, description="Places between baseline and picture, at first; the paper takes 20 to 300."
    )
    tolerance: float = Field(
        0.01,
        gt=0,
        le=1,
        description=(
            "How far the attributions may be from adding up, as a fraction of the score's difference. Where they are "
            "further, twice as many steps are taken, up to eight times `steps`. 1 keeps to `steps`."
        ),
    )
    baseline: Baseline = Field("black", description=f"Where the path begins: a picture of no evidence. {BASELINE_HELP}")
    signed: bool = Field(True, description="Draw pixels that speak against the target too, in blue; else magnitudes.")
    cap: CapField = Field(0.99, description=CAP_HELP)
    batch: BatchField = Field(None, description=BATCH_HELP)

    def for_comparison(self, target: Target | None, batch: int | None) -> Self:
        """As of every attribution, and with as many steps as were asked for, whatever they leave open."""
        return super().for_comparison(target, batch).model_copy(update={"tolerance": 1.0})

    @property
    def rounds(self) -> tuple[int, ...]:
        """How many steps are taken, and how many if those are not enough, and so on."""
        return tuple(self.steps << doubling for doubling in range(_ROUNDS if self.tolerance < 1 else 1))


@attribution(
    "integrated_gradients",
    needs={"image", "gradients", "classes"},
    cites="Sundararajan, Taly & Yan 2017, arXiv:1703.01365",
)
def integrated_gradients(run: Run[IntegratedGradientsParams]) -> Reporting:
    """How much each pixel adds to the score, compared with a baseline picture; all of them add up to the difference.

    Tensor `attribution`, (3, H, W), is (x - x') times the integral over a in [0, 1] of the gradient at
    x' + a (x - x'), by Gauss-Legendre quadrature; `integrated_gradients` is its sum over channels, cut at its 99th
    percentile. Score `completeness_gap` is how far the total is from f(x) - f(x'), as a fraction of it; until it is
    within `tolerance`, steps are doubled, as the paper advises, and score `steps` says how many were enough. Networks
    of ReLUs need many: along the path their gradient jumps, most of all near the baseline, and no rule sees jumps
    between its places. A pixel of the baseline's own colour gets nothing: black explains nothing that is black.
    """
    network, image, params = run.network, run.image, run.params
    with torch.no_grad():
        explained = explain(network, image, params.target)
        baseline = baseline_of(params.baseline, network, image).expand_as(image)
        difference = float(explained.score) - float(network.score(baseline, explained.target))
    yield from explained.events(network)
    yield Note(f"compared with the baseline {params.baseline}, which scores {float(explained.score) - difference:.4g}")
    added, steps, batch = yield from _complete(run, baseline, explained.target, difference)
    values = _shown(added, signed=params.signed)
    caption = f"what each pixel adds to {explained.target}, from {params.baseline} in {steps} steps"
    yield Heatmap("integrated_gradients", capped(values, params.cap), signed=params.signed, caption=caption)
    yield events.Tensor("attribution", added[0], caption=f"{caption}, by colour")
    yield from _completeness(float(added.double().sum()), difference, steps, params.tolerance)
    return Found(values, explained.target, batch)


def nodes(steps: int) -> tuple[Tensor, Tensor]:
    """Places in (0, 1), ascending, and weights that add up to 1, of Gauss-Legendre quadrature; float64."""
    places, weights = np.polynomial.legendre.leggauss(steps)
    return torch.from_numpy((1 + places) / 2), torch.from_numpy(weights / 2)


def _complete(
    run: Run[IntegratedGradientsParams], baseline: Tensor, target: Target, difference: float
) -> Generator[Event, None, tuple[Tensor, int, int]]:
    """The (1, 3, H, W) attribution within the tolerance, or that of the most steps; its steps; how many at once."""
    rounds, path = run.params.rounds, run.image - baseline
    total, nothing = sum(rounds), torch.zeros_like(path)
    batch = run.params.batch or batch_size(run.network, run.image, gradients=True)
    with run.state("path", doubled=0, integral=nothing, covered=0.0, done=0, batch=batch) as state:
        while True:
            yield from _integrated(run, state, baseline, target)
            attribution = path * state.integral
            gap = abs(float(attribution.double().sum()) - difference)
            if state.doubled + 1 == len(rounds) or gap <= run.params.tolerance * abs(difference):
                break
            state.doubled, state.integral, state.covered, state.done = state.doubled + 1, nothing, 0.0, 0
    if sum(rounds[: state.doubled + 1]) < total:
        yield Progress(total, total)
    return attribution, rounds[state.doubled], state.batch


def _integrated(run: Run[IntegratedGradientsParams], state: State, baseline: Tensor, target: Target) -> Iterator[Event]:
    """Adds up a round's steps; previews are scaled up to the part of the path that is done."""
    params, path = run.params, run.image - baseline
    steps, before = params.rounds[state.doubled], sum(params.rounds[: state.doubled])
    places, weights = (part.to(path).view(-1, 1, 1, 1) for part in nodes(steps))
    while state.done < steps:
        now = slice(state.done, state.done + run.inner_batch(state.batch))
        found = gradients(run.network, baseline + places[now] * path, target)
        state.integral = state.integral + (weights[now] * found).sum(0, keepdim=True)
        state.covered, state.done = state.covered + float(weights[now].sum()), min(now.stop, steps)
        yield Progress(before + state.done, sum(params.rounds), {"path": state.covered, "steps": float(steps)})
        so_far = _shown(path * state.integral / state.covered, signed=params.signed)
        yield Preview(capped(so_far, params.cap), caption=f"{state.done} of {steps} steps", heatmap=True)
        yield state


def _shown(attribution: Tensor, *, signed: bool) -> Tensor:
    total = attribution[0].sum(0)
    return total if signed else total.abs()


def _completeness(total: float, difference: float, steps: int, tolerance: float) -> Iterator[Event]:
    scores = {"attribution_sum": total, "score_difference": difference, "steps": float(steps)}
    if difference == 0:
        yield Scores(scores)
        yield Note("picture and baseline have the same score: there is no difference to attribute")
        return
    gap = abs(total - difference) / abs(difference)
    yield Scores({**scores, "completeness_gap": gap})
    if gap > min(tolerance, _WORTH_SAYING):
        advice = (
            "take more steps" if tolerance <= _WORTH_SAYING else f"take more steps, or a tolerance of {_WORTH_SAYING}"
        )
        yield Note(
            f"after {steps} steps the attributions add up to {total:.4g}, not {difference:.4g}: {gap:.1%} off; {advice}"
        )
