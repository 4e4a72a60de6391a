from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from convscope_techniques.synthesis.update import LBFGS, Adam, Momentum, Update

CURVATURE = torch.logspace(-1, 1, 30, dtype=torch.float64)


def _value(code: torch.Tensor) -> torch.Tensor:
    away = code - torch.linspace(-1, 1, 30, dtype=torch.float64)
    return (CURVATURE * away.square()).sum() / 2


def _theirs(make: Callable[[list[torch.Tensor]], torch.optim.Optimizer], steps: int) -> torch.Tensor:
    code = torch.zeros(30, dtype=torch.float64, requires_grad=True)
    optimizer = make([code])

    def closure() -> Any:
        optimizer.zero_grad()
        value = _value(code)
        value.backward()  # type: ignore[no-untyped-call]  # torch's
        return value

    for _ in range(steps):
        optimizer.step(closure)
    return code.detach()


def _ours(update: Update, steps: int) -> torch.Tensor:
    code = torch.zeros(30, dtype=torch.float64)
    for _ in range(steps):
        leaf = code.requires_grad_()
        value = _value(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
        code = update.next(leaf.detach(), float(value.detach()), gradient)
    return code


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_adam_takes_torchs_steps(steps: int) -> None:
    theirs = _theirs(lambda code: torch.optim.Adam(code, lr=0.05), steps)
    assert torch.allclose(_ours(Adam(0.05), steps), theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_momentum_takes_the_steps_of_torchs_sgd(steps: int) -> None:
    theirs = _theirs(lambda code: torch.optim.SGD(code, lr=0.02, momentum=0.9), steps)
    assert torch.allclose(_ours(Momentum(0.02, 0.9), steps), theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_lbfgs_takes_torchs_steps_as_long_as_they_go_down(steps: int) -> None:
    theirs = _theirs(lambda code: torch.optim.LBFGS(code, lr=1, max_iter=1, history_size=10), steps)
    assert torch.allclose(_ours(LBFGS(10), steps), theirs, rtol=1e-8, atol=1e-10)
