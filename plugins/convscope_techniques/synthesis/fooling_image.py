"""A picture that looks as before and is taken for whatever one likes (Szegedy et al. 2013, CS231n's rule)."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import torch
from pydantic import Field

from convscope_sdk.events import Event, Preview, Progress, Scores
from convscope_sdk.run import Run
from convscope_sdk.state import State
from convscope_sdk.target import TargetField, target_field
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.attack import AttackParams, Case, Verdict, results
from convscope_techniques.synthesis.centred import Centred

__all__ = ["FoolingImageParams", "fooling_image"]


class FoolingImageParams(AttackParams):
    """Parameters of `fooling_image`; the defaults are those of the CS231n assignment."""

    target: TargetField | None = Field(
        target_field("top2"), description="The class that the picture is to be taken for: any; the runner-up if absent."
    )
    steps: int = Field(100, ge=1, le=10_000, description="Most steps to take.")
    step_size: float = Field(
        1.0, gt=0, le=1000, description="Length of a step, in deviations of the network's normalisation."
    )
    halvings: int = Field(
        6, ge=0, le=20, description="How often the way back is halved, for the smallest change that holds; 0: CS231n's."
    )
    preview_every: int = Field(1, ge=1, le=10_000, description="Show every so many steps.")


@technique(
    "fooling_image",
    needs={"image", "gradients", "classes"},
    cites="Szegedy et al. 2013, arXiv:1312.6199; Stanford CS231n, assignment 3",
    resumable=True,
    steers={"steps", "step_size", "magnify", "preview_every"},
)
def fooling_image(run: Run[FoolingImageParams]) -> Iterator[Event]:
    """A picture that looks as before and is taken for another class, with the smallest change that holds.

    z ← z + step_size·g/‖g‖₂, g the gradient of the target's logit with respect to the normalised picture z, until
    the target is on top; then the way back to the picture is halved as long as it still is. On top means: in the
    PNG, decoded and classified again. Images `adversarial` and `difference`, `comparison` with both and the picture
    before; table `probabilities`. It says how near another class is, and little about what the class looks like.
    """
    case = Case.of(run)
    canvas = Centred.of(case.network, "deviations")
    code, verdict = canvas.code(case.image), case.untouched
    with run.state("climb", code=code, verdict=tuple(verdict), step=0, most=run.params.steps) as climb:
        yield from _climbed(run, case, canvas, climb)
        verdict = Verdict(*climb.verdict)
        if verdict.fooled and not case.already:
            verdict = yield from _shortened(run, case, verdict, climb.most)
    if not case.already:
        total = climb.most + run.params.halvings
        yield Progress(total, total)
    yield from results(case, verdict, run.params.magnify)
    yield Scores({"steps": float(climb.step)})


def _climbed(run: Run[FoolingImageParams], case: Case, canvas: Centred, climb: State) -> Iterator[Event]:
    """Up to the first picture that holds, or the last of all."""
    params = run.params
    if not Verdict(*climb.verdict).fooled:
        climb.most = max(params.steps, climb.step)
    while not Verdict(*climb.verdict).fooled and climb.step < climb.most:
        gradient, value = _logit_gradient(case, canvas, climb.code)
        climb.code = canvas.clipped(climb.code + params.step_size * gradient / gradient.norm().clamp(min=1e-12))
        pixels, climb.step = canvas.pixels(climb.code).clamp(0, 1), climb.step + 1
        climb.verdict = tuple(case.judged(pixels, pixels))
        yield Progress(climb.step, climb.most + params.halvings, {"objective": value})
        if climb.step % params.preview_every == 0:
            yield Preview(pixels, caption=f"step {climb.step}")
        yield climb


def _shortened(
    run: Run[FoolingImageParams], case: Case, verdict: Verdict, done: int
) -> Generator[Event, None, Verdict]:
    """The nearest picture that holds on the straight way back, to one part in 2^halvings."""
    change, halvings = verdict.exact - case.image, run.params.halvings
    with run.state("way back", low=0.0, high=1.0, number=0, verdict=tuple(verdict)) as back:
        while back.number < halvings:
            middle = (back.low + back.high) / 2
            pixels = case.image + middle * change
            tried = case.judged(pixels, pixels)
            if tried.fooled:
                back.high, back.verdict = middle, tuple(tried)
            else:
                back.low = middle
            back.number += 1
            yield Progress(done + back.number, done + halvings, {"part": middle})
            yield back
        return Verdict(*back.verdict)


def _logit_gradient(case: Case, canvas: Centred, code: torch.Tensor) -> tuple[torch.Tensor, float]:
    with torch.enable_grad():
        leaf = code.detach().requires_grad_()
        logits = case.network.logits(canvas.pixels(leaf))
        value = -logits[0, case.label] if case.target is None else logits[0, case.target]
        (gradient,) = torch.autograd.grad(value, leaf)
    return gradient, float(value.detach())
