from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_techniques.texture.colours import (
    Grey,
    edge_agreement,
    histogram_matched,
    luma,
    mean_colour,
    recoloured,
    with_contrast_of,
)


def _pixels(seed: int, height: int = 6, width: int = 7) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 1000))
def test_recolouring_changes_brightness_alone(seed: int) -> None:
    picture, wanted = 0.4 + 0.2 * _pixels(seed), luma(0.4 + 0.2 * _pixels(seed + 1))
    result = recoloured(wanted, picture)
    assert torch.allclose(luma(result), wanted, atol=1e-6)
    chroma, before = result - luma(result), picture - luma(picture)
    assert torch.allclose(chroma, before, atol=1e-6)


def test_the_brightness_of_grey_is_itself() -> None:
    code = torch.rand(1, 1, 4, 4)
    assert torch.allclose(luma(Grey().pixels(code)), code)
    assert mean_colour(Grey().pixels(torch.full((1, 1, 2, 2), 0.3))).flatten().tolist() == pytest.approx([0.3] * 3)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(3, 12), st.integers(3, 12))
def test_a_matched_picture_has_the_samples_values_in_its_own_order(seed: int, height: int, width: int) -> None:
    pixels, sample = _pixels(seed), _pixels(seed + 1, height, width)
    matched = histogram_matched(pixels, sample)
    order = pixels.flatten(2).argsort(-1)
    assert (matched.flatten(2).gather(-1, order).diff() >= 0).all()
    for own, theirs in zip(matched[0], sample[0], strict=True):
        assert torch.allclose(own.min(), theirs.min())
        assert torch.allclose(own.max(), theirs.max())
    assert torch.allclose(histogram_matched(pixels, pixels), pixels)


def test_contrast_becomes_the_others() -> None:
    values, other = torch.rand(1, 1, 9, 9) * 0.1, 0.4 + 0.2 * torch.rand(1, 1, 5, 5)
    stretched = with_contrast_of(values, other)
    assert float(stretched.mean()) == pytest.approx(float(other.mean()), abs=1e-4)
    assert float(stretched.std()) == pytest.approx(float(other.std()), abs=1e-4)
    assert with_contrast_of(torch.full((1, 1, 3, 3), 0.5), other).isfinite().all()


def test_edges_agree_with_themselves_under_any_contrast_and_not_with_noise() -> None:
    picture = luma(_pixels(0, 20, 20))
    assert edge_agreement(picture, 0.3 * picture + 0.2) == pytest.approx(1, abs=1e-4)
    assert abs(edge_agreement(picture, luma(_pixels(9, 20, 20)))) < 0.3
    assert edge_agreement(picture, torch.ones(1, 1, 20, 20)) == 0
