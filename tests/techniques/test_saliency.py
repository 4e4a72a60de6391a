from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convscope_sdk.events import Heatmap, ImageGrid, Predictions
from convscope_sdk.target import Target
from convscope_techniques.attribution.saliency import reduced, saliency, scored_gradients
from support.collected import Collected
from support.zoo import network_of, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_of_a_linear_network_the_map_is_its_weights() -> None:
    linear = nn.Linear(3 * 16 * 16, 2)
    network = network_of(flat=nn.Flatten(), linear=linear, size=16)
    seen = Collected(saliency.run(network, PICTURE, target=1))
    std = torch.tensor(network.spec.std).view(3, 1, 1)
    expected = (linear.weight[1].view(3, 16, 16) / std).abs().amax(0)
    assert torch.allclose(seen.tensor("saliency"), expected)


def test_a_contrast_is_the_difference_of_two_gradients() -> None:
    gradient = {
        target: Collected(saliency.run(tiny(), PICTURE, target=target)).tensor("gradient") for target in (2, 5, "2-5")
    }
    assert torch.allclose(gradient["2-5"], gradient[2] - gradient[5], atol=1e-6)


@pytest.mark.parametrize("target", ["top1", "class:3", "2-5", "conv2:3@8,8"])
def test_each_picture_of_a_batch_has_the_gradient_of_its_own_target(target: str) -> None:
    network, pixels = tiny(), torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(4)) ** 3
    parsed = Target.parse(target)
    score, logits, gradient = scored_gradients(network, pixels, target=parsed)
    for row, picture in enumerate(pixels.split(1)):  # type: ignore[no-untyped-call]  # torch's
        alone = scored_gradients(network, picture, target=parsed)
        for ours, its in zip((score, logits, gradient), alone, strict=True):
            assert torch.allclose(ours[row : row + 1], its, atol=1e-5)
    assert (score.shape, gradient.shape) == ((5,), (5, 3, 32, 32))


def test_a_unit_inside_the_network_can_be_explained() -> None:
    seen = Collected(saliency.run(tiny(), PICTURE, target="conv2:3@8,8"))
    touched = seen.tensor("saliency").nonzero()
    assert len(touched)
    assert touched.min() >= 14
    assert touched.max() <= 18


def test_predictions_and_the_resolved_target_are_told() -> None:
    seen = Collected(saliency.run(tiny(), PICTURE))
    (index, _, probability), *_ = seen.all(Predictions)[0].items
    assert any(f"class:{index}" in note for note in seen.notes)
    assert seen.scores["target_probability"] == pytest.approx(probability)


def test_times_input_multiplies_by_the_pixels() -> None:
    plain = Collected(saliency.run(tiny(), PICTURE, fit="resize", reduce="none", signed=True))
    times = Collected(saliency.run(tiny(), PICTURE, fit="resize", reduce="none", signed=True, times_input=True))
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1) / 255
    assert torch.allclose(times.tensor("saliency"), plain.tensor("gradient") * pixels, atol=1e-7)


def test_without_reduction_each_channel_has_its_map() -> None:
    seen = Collected(saliency.run(tiny(), PICTURE, reduce="none"))
    assert tuple(seen.tensor("saliency").shape) == (3, 32, 32)
    assert seen.one(ImageGrid, "saliency").labels == ("red", "green", "blue")
    assert seen.all(Heatmap) == []


@settings(deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_max_keeps_the_largest_magnitude_and_its_sign(seed: int, signed: bool) -> None:
    gradient = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    maps = reduced(gradient, "max", signed=signed)
    assert torch.equal(maps.abs(), gradient.abs().amax(1, keepdim=True))
    assert (gradient == maps).any(1).all() if signed else (maps >= 0).all()
