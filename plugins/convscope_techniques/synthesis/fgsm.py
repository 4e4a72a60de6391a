"""One step against the network (Goodfellow, Shlens & Szegedy 2014)."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from torch import Tensor

from convscope_sdk.events import Event, Progress
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_techniques.synthesis.attack import BallParams, Case, attacked
from convscope_techniques.synthesis.ball import Ball

__all__ = ["fgsm"]


@technique("fgsm", needs={"image", "gradients", "classes"}, cites="Goodfellow, Shlens & Szegedy 2014, arXiv:1412.6572")
def fgsm(run: Run[BallParams]) -> Iterator[Event]:
    """A picture that the network mistakes after a single step: the fast gradient sign method.

    x' = clip(x + epsilon·sign(∇L(x, label)), 0, 1), L the cross-entropy; with a target, against the gradient of
    L(x, target); by `l2`, g/‖g‖₂ in place of the sign. Tensor `adversarial` is x' itself; image `adversarial` its
    nearest within epsilon in 8 bits, and `success` means that its PNG, decoded again, is mistaken. `sweep` gives
    the smallest epsilon that works. A picture mistaken before is said to be so, and is no success.
    """
    yield from attacked(run, _step, 1)


def _step(case: Case, ball: Ball, done: int, total: int) -> Generator[Event, None, Tensor]:
    moved = case.image + ball.epsilon * ball.direction(case.uphill(case.image))
    yield Progress(done + 1, total, {"epsilon": ball.epsilon})
    return moved.clamp(0, 1)
