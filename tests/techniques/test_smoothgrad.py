from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.events import Preview, Progress
from convscope_techniques.attribution.saliency import saliency
from convscope_techniques.attribution.smoothgrad import smoothgrad
from support.collected import Collected
from support.zoo import tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
GREY = np.full((32, 32, 3), 128, dtype=np.uint8)


def test_without_noise_it_is_the_saliency_map() -> None:
    plain = Collected(saliency.run(tiny(), PICTURE))
    seen = Collected(smoothgrad.run(tiny(), PICTURE, sigma=0, samples=3, cap=1))
    for name, own in (("gradient", "gradient"), ("smoothgrad", "saliency")):
        assert torch.allclose(seen.tensor(name), plain.tensor(own), atol=1e-6)


def test_a_picture_without_range_gets_no_noise() -> None:
    plain = Collected(saliency.run(tiny(), GREY)).tensor("gradient")
    assert torch.allclose(Collected(smoothgrad.run(tiny(), GREY, samples=2)).tensor("gradient"), plain, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_the_samples_do_not_depend_on_the_batch(batch: int) -> None:
    expected = Collected(smoothgrad.run(tiny(), PICTURE, samples=10, seed=2)).tensor("gradient")
    seen = Collected(smoothgrad.run(tiny(), PICTURE, samples=10, seed=2, batch=batch))
    assert torch.allclose(seen.tensor("gradient"), expected, atol=1e-6)
    assert seen.all(Progress)[-1].step == seen.all(Progress)[-1].total == 10
    assert torch.equal(torch.as_tensor(seen.all(Preview)[-1].image), seen.tensor("smoothgrad"))


def test_more_samples_vary_less_from_seed_to_seed() -> None:
    def spread(samples: int) -> float:
        runs = [Collected(smoothgrad.run(tiny(), PICTURE, samples=samples, seed=seed)) for seed in (0, 1)]
        return float((runs[0].tensor("gradient") - runs[1].tensor("gradient")).square().mean())

    assert spread(64) < spread(2) / 8


def test_the_variance_is_the_mean_square_less_the_squared_mean() -> None:
    kinds = ("gradient", "square", "variance")
    mean, square, variance = (
        Collected(smoothgrad.run(tiny(), PICTURE, samples=8, average=kind)).tensor("gradient") for kind in kinds
    )
    assert torch.allclose(variance, (square - mean.square()).clamp(min=0), atol=1e-7)
    assert variance.any()


@pytest.mark.parametrize("settings", [{"signed": True, "reduce": "none"}, {"reduce": "none"}, {"reduce": "mean"}])
def test_every_way_to_draw_it_comes_with_the_same_gradient(settings: dict[str, Any]) -> None:
    plain = Collected(smoothgrad.run(tiny(), PICTURE, samples=4))
    seen = Collected(smoothgrad.run(tiny(), PICTURE, samples=4, **settings))
    assert torch.equal(seen.tensor("gradient"), plain.tensor("gradient"))
    assert seen.tensor("smoothgrad").shape[-2:] == (32, 32)


def test_the_class_is_that_of_the_clean_picture() -> None:
    clean = int(tiny().logits(torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255).argmax())
    seen = Collected(smoothgrad.run(tiny(), PICTURE, fit="resize", samples=2, sigma=1))
    assert any(f"explains class:{clean}" in note for note in seen.notes)


def test_a_unit_inside_the_network_can_be_explained() -> None:
    assert Collected(smoothgrad.run(tiny(), PICTURE, samples=2, target="conv2:3@4,4")).tensor("gradient").any()
