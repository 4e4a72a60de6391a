from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope_sdk.target import Target
from convscope_techniques.attribution.faithfulness import STEPS, Curve, confidence, curve, curve_passes, kept
from support.zoo import lens, tiny

IMAGE = torch.from_numpy(np.random.default_rng(0).random((1, 3, 32, 48), dtype=np.float32))
MAP = torch.from_numpy(np.random.default_rng(1).normal(size=(32, 48)).astype(np.float32))


class Brightness(nn.Module):
    """One unit that gives the mean of the pixels of its left half."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x[..., : x.shape[-1] // 2].mean((1, 2, 3))[:, None]).repeat(1, 2)


def test_the_area_is_the_trapezoids() -> None:
    assert Curve(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 0.5, 0.0])).area == pytest.approx(0.5)


def test_it_begins_with_the_one_picture_ends_with_the_other_and_yields_as_often_as_it_says() -> None:
    network, target = tiny(), Target.parse("class:3")
    black = torch.zeros_like(IMAGE)
    found = list(curve(network, IMAGE, black, MAP, target, batch=5))
    assert len(found) == curve_passes(IMAGE, 5)
    last = found[-1]
    assert last.fractions[0] == 0
    assert last.fractions[-1] == 1
    assert len(last.values) == len(last.fractions) <= STEPS + 1
    ends = torch.cat([confidence(network, pixels, target) for pixels in (IMAGE, black)])
    assert torch.allclose(last.values[[0, -1]], ends, atol=1e-6)


def test_each_value_is_of_the_picture_with_that_part_of_the_highest_pixels_exchanged() -> None:
    network, target = tiny(), Target.parse("class:3")
    *_, last = curve(network, IMAGE, torch.zeros_like(IMAGE), MAP, target, batch=64)
    index = 20
    count = round(float(last.fractions[index]) * MAP.numel())
    hidden = IMAGE.clone()
    hidden[..., MAP.flatten().sort(descending=True).values[count - 1] <= MAP] = 0
    assert float(last.values[index]) == pytest.approx(float(confidence(network, hidden, target)), abs=1e-5)


def test_it_goes_on_from_what_is_known() -> None:
    network, target, black = tiny(), Target.parse("class:3"), torch.zeros_like(IMAGE)
    whole = list(curve(network, IMAGE, black, MAP, target, batch=10))
    rest = list(curve(network, IMAGE, black, MAP, target, batch=10, known=whole[2].values))
    assert len(rest) == len(whole) - 3
    assert torch.equal(rest[-1].values, whole[-1].values)
    assert torch.equal(rest[-1].fractions, whole[-1].fractions)
    assert not list(curve(network, IMAGE, black, MAP, target, batch=10, known=whole[-1].values))


def test_deleting_what_counts_first_gives_a_smaller_area_than_deleting_it_last() -> None:
    white, black = torch.ones(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    network, target = lens(Brightness(), size=32), Target.parse("left:0")
    where = torch.zeros(32, 32)
    where[:, :16] = 1
    *_, good = curve(network, white, black, where, target, batch=64)
    *_, bad = curve(network, white, black, -where, target, batch=64)
    scale = float(network.score(white, target) - network.score(black, target))
    floor = float(network.score(black, target))
    assert (good.area - floor) / scale == pytest.approx(0.25, abs=0.01)
    assert (bad.area - floor) / scale == pytest.approx(0.75, abs=0.01)


def test_the_map_as_a_mask_keeps_the_highest_pixel_and_hides_what_is_not_above_zero() -> None:
    hidden = torch.full((1, 3, 1, 1), 0.5)
    seen = kept(IMAGE, hidden, MAP)
    row, column = divmod(int(MAP.argmax()), 48)
    assert torch.allclose(seen[..., row, column], IMAGE[..., row, column])
    assert (seen[..., MAP <= 0] == 0.5).all()
    assert (kept(IMAGE, hidden, torch.zeros(32, 48)) == 0.5).all()


def test_confidence_is_a_probability_their_difference_or_a_units_value() -> None:
    network = tiny()
    probabilities = network.logits(IMAGE).softmax(1)
    assert torch.equal(confidence(network, IMAGE, Target.parse("class:3")), probabilities[:, 3])
    contrast = confidence(network, IMAGE, Target.parse("3-5"))
    assert torch.allclose(contrast, probabilities[:, 3] - probabilities[:, 5])
    unit = Target.parse("conv2:3")
    assert torch.equal(confidence(network, IMAGE, unit), network.score(IMAGE, unit))
