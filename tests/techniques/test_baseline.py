from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_techniques.attribution.baseline import baseline_of, blurred
from support.zoo import tiny


def test_the_mean_colour_is_zero_after_normalisation() -> None:
    pixels = torch.rand(1, 3, 8, 8)
    assert torch.allclose(tiny().normalize(baseline_of("mean", tiny(), pixels)), torch.zeros(()), atol=1e-6)


def test_grey_is_half_and_black_is_nothing() -> None:
    pixels = torch.rand(1, 3, 8, 8)
    assert (baseline_of("grey", tiny(), pixels) == 0.5).all()
    assert (baseline_of("black", tiny(), pixels) == 0).all()


def test_blur_keeps_the_shape_and_flattens_the_picture() -> None:
    pixels = torch.rand(1, 3, 40, 24, generator=torch.Generator().manual_seed(0))
    smooth = baseline_of("blur", tiny(), pixels)
    assert smooth.shape == pixels.shape
    assert smooth.std((2, 3)).max() < 0.3 * pixels.std((2, 3)).min()


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0.3, 20))
def test_a_flat_picture_stays_as_it_is_under_any_blur(level: float, sigma: float) -> None:
    flat = torch.full((1, 3, 9, 7), level)
    assert torch.allclose(blurred(flat, sigma), flat, atol=1e-5)
