from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope_techniques.synthesis.penalty import absolute_variation, alpha_norm, squared_norm, total_variation


def _pixels(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 6, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 1000))
def test_variations_are_sums_over_neighbours(seed: int) -> None:
    x = _pixels(seed)
    down, right = x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1]
    assert float(total_variation(x)) == pytest.approx(float((down**2).sum() + (right**2).sum()))
    assert float(absolute_variation(x)) == pytest.approx(float(down.abs().sum() + right.abs().sum()))


@given(st.integers(0, 1000), st.floats(1, 4))
def test_total_variation_takes_the_power_of_each_pixels_slope(seed: int, beta: float) -> None:
    x = _pixels(seed)[..., :2, :2]
    expected = 0.0
    for c in range(3):
        (a, b), (d, e) = x[0, c].tolist()
        expected += ((b - a) ** 2 + (d - a) ** 2) ** (beta / 2) + abs(e - b) ** beta + abs(e - d) ** beta
    assert float(total_variation(x, beta)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
def test_flat_pictures_cost_nothing_and_have_a_finite_gradient(beta: float) -> None:
    flat = torch.full((1, 3, 5, 5), 0.4, requires_grad=True)
    cost = total_variation(flat, beta)
    (gradient,) = torch.autograd.grad(cost, flat)
    assert float(cost.detach()) == pytest.approx(0, abs=1e-3)
    assert gradient.isfinite().all()


def test_norms_are_sums_of_powers() -> None:
    values = torch.tensor([[[[1.0, -2.0]]]])
    assert float(squared_norm(values)) == 5
    assert float(alpha_norm(values)) == 65
