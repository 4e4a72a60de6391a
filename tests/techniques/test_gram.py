from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope_techniques.texture.gram import Convention, content_factor, gram, style_factor, variation


def _features(seed: int, channels: int = 16) -> torch.Tensor:
    return torch.randn(1, channels, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 1000), st.integers(1, 24))
def test_the_gram_matrix_is_einsum_over_channels_height_and_width(seed: int, channels: int) -> None:
    f = _features(seed, channels)
    assert torch.allclose(gram(f), torch.einsum("bchw,bdhw->bcd", f, f) / f[0].numel())


@given(st.integers(0, 1000))
def test_a_batch_has_the_gram_matrices_and_gradients_of_its_pictures_alone(seed: int) -> None:
    batch = torch.cat([_features(seed), _features(seed + 1)]).requires_grad_()
    alone = [picture[None].detach().requires_grad_() for picture in batch]
    together = gram(batch)
    assert torch.allclose(together, torch.cat([gram(picture) for picture in alone]))
    (gradient,) = torch.autograd.grad(together.square().sum(), batch)
    gradients = [torch.autograd.grad(gram(picture).square().sum(), picture)[0] for picture in alone]
    assert torch.allclose(gradient, torch.cat(gradients))


def test_features_with_channels_last_have_the_same_gram_matrix_and_a_gradient_laid_out_as_they_are() -> None:
    plain, last = _features(0), _features(0).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.allclose(gram(last), gram(plain))
    (gradient,) = torch.autograd.grad(gram(last).square().sum(), last)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@given(st.integers(0, 1000))
def test_a_gram_matrix_forgets_where_things_are(seed: int) -> None:
    f = _features(seed)
    shuffled = f.flatten(2)[..., torch.randperm(35, generator=torch.Generator().manual_seed(seed))].view_as(f)
    assert torch.allclose(gram(f), gram(shuffled))


def test_gatys_loss_is_a_quarter_of_the_channels_squared_times_the_mean_squared_difference() -> None:
    f, g = _features(0), _features(1)
    channels, positions = 16, 35
    raw = (f.flatten(2) @ f.flatten(2).mT - g.flatten(2) @ g.flatten(2).mT).square().sum()
    theirs = raw / (4 * channels**2 * positions**2)
    mse = (gram(f) - gram(g)).square().mean()
    assert style_factor("gatys", gram(g)) == 64
    assert float(theirs) == pytest.approx(style_factor("gatys", gram(g)) * float(mse), rel=1e-6)


def test_content_losses_of_the_papers_are_constants_times_the_mean() -> None:
    f, g = _features(0), _features(1)
    mse = float((f - g).square().mean())
    assert float((f - g).square().sum() / 2) == pytest.approx(content_factor("gatys", g) * mse)
    assert float((f - g).square().sum()) == pytest.approx(content_factor("sum", g) * mse)
    assert content_factor("mse", g) == 1


def test_relative_losses_are_one_for_nothing_at_all_whatever_the_scale() -> None:
    for scale in (1e-2, 1.0, 1e2):
        f = scale * _features(3)
        assert float(f.square().mean()) * content_factor("relative", f) == pytest.approx(1)
        assert float(gram(f).square().mean()) * style_factor("relative", gram(f)) == pytest.approx(1)


@pytest.mark.parametrize("convention", get_args(Convention))
def test_a_layer_that_says_nothing_has_finite_factors(convention: Convention) -> None:
    nothing = torch.zeros(1, 4, 3, 3)
    assert 0 * style_factor(convention, gram(nothing)) == 0
    assert 0 * content_factor(convention, nothing) == 0


def test_differences_of_neighbours_are_counted_as_each_convention_does() -> None:
    x = torch.tensor([[[[0.0, 0.5], [0.25, 1.0]]]])
    differences = torch.tensor([0.5, 0.75, 0.25, 0.5])
    assert float(variation("mse", x)) == float(variation("gatys", x)) == float(differences.sum())
    assert float(variation("sum", x)) == float(differences.square().sum())
    assert float(variation("relative", x)) == float(differences.sum()) / 8
