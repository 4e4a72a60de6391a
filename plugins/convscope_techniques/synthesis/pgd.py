"""The strongest picture against the network within a bound (Madry et al. 2017)."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import torch
from pydantic import Field

from convscope_sdk.events import Event, Preview, Progress
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.attack import BallParams, Case, attacked
from convscope_techniques.synthesis.ball import Ball

__all__ = ["PgdParams", "pgd"]

_SHARE = {"linf": 1 / 4, "l2": 1 / 5}


class PgdParams(BallParams):
    """Parameters of `pgd`; the defaults are those of torchattacks."""

    steps: int = Field(10, ge=1, le=10_000, description="Steps within one bound.")
    step_size: float | None = Field(
        None, gt=0, le=1000, description="Length of a step; epsilon/4 for `linf` and epsilon/5 for `l2` where absent."
    )
    random_start: bool = Field(True, description="Begin at a random picture within the bound.")
    preview_every: int = Field(1, ge=1, le=10_000, description="Show every so many steps.")


@technique(
    "pgd",
    needs={"image", "gradients", "classes"},
    cites="Madry et al. 2017, arXiv:1706.06083",
    resumable=True,
    steers={"step_size", "magnify", "preview_every"},
)
def pgd(run: Run[PgdParams]) -> Iterator[Event]:
    """A picture within a bound that the network mistakes: projected gradient descent on its cross-entropy.

    x ← clip(project(x + step_size·sign(∇L(x, label))), 0, 1), where project keeps |x - x₀| ≤ epsilon; with a target,
    against the gradient of L(x, target); by `l2`, g/‖g‖₂ and ‖x - x₀‖₂. Tensor `adversarial` is x itself; image
    `adversarial` its nearest within epsilon in 8 bits, and `success` means that its PNG, decoded again, is mistaken.
    `sweep` gives the smallest epsilon that works. A picture mistaken before is said to be so, and is no success.
    """
    params = run.params

    def descend(case: Case, ball: Ball, done: int, total: int) -> Generator[Event, None, torch.Tensor]:
        size = params.step_size or _SHARE[ball.norm] * ball.epsilon
        begin = ball.random(case.image) if params.random_start else case.image
        with run.state("ball", pixels=begin, step=0) as state:
            while state.step < params.steps:
                uphill = ball.direction(case.uphill(state.pixels))
                state.pixels, state.step = ball.project(case.image, state.pixels + size * uphill), state.step + 1
                yield Progress(done + state.step, total, {"epsilon": ball.epsilon})
                if state.step % params.preview_every == 0:
                    yield Preview(state.pixels, caption=f"within {ball.epsilon:.3g}")
                yield state
            pixels: torch.Tensor = state.pixels
        return pixels

    yield from attacked(run, descend, params.steps)
