from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope_techniques.attribution.grad_cam_plus_plus import alphas, plus_plus_maps


def _seeded(seed: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(1, 5, 4, 3, generator=generator, dtype=torch.float64)
    return maps, scale * torch.randn(1, 5, 4, 3, generator=generator, dtype=torch.float64)


@given(st.integers(0, 1000), st.sampled_from([1e-6, 1e-3, 1.0, 10.0]))
def test_maps_are_weighted_as_in_equation_19_of_the_paper_at_any_scale_of_the_gradient(seed: int, scale: float) -> None:
    maps, g = _seeded(seed, scale)
    alpha = g**2 / (2 * g**2 + maps.sum((2, 3), keepdim=True) * g**3)
    weights = (alpha * g.relu()).sum((2, 3))
    expected = torch.einsum("bc,bchw->bhw", weights, maps)
    assert torch.allclose(plus_plus_maps(maps, g)[:, 0], expected, rtol=1e-6)


def test_maps_far_below_zero_leave_every_coefficient_finite_and_at_most_a_half() -> None:
    maps, g = _seeded(0, 1.0)
    coefficients = alphas(maps - 2, g.relu())
    assert 0 < coefficients.min() <= coefficients.max() <= 0.5
