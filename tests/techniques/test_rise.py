from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convscope_sdk.events import Preview, Progress
from convscope_techniques.attribution.rise import RandomMasks, RiseParams, rise
from support.collected import Collected
from support.zoo import lens, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
CPU = torch.device("cpu")


def test_the_defaults_are_the_papers() -> None:
    params = RiseParams()
    assert (params.samples, params.cells, params.p) == (4000, 7, 0.5)


@given(st.integers(2, 9), st.integers(16, 60), st.integers(16, 60), st.integers(0, 99))
def test_masks_cover_the_picture_with_values_between_zero_and_one(
    cells: int, height: int, width: int, seed: int
) -> None:
    drawn = RandomMasks.drawn(np.random.default_rng(seed), 3, cells, 0.5, (height, width))
    found = drawn.masks(0, len(drawn), CPU)
    assert tuple(found.shape) == (3, 1, height, width)
    assert 0 <= found.min() <= found.max() <= 1 + 1e-6


def test_each_pixel_is_kept_with_probability_p() -> None:
    drawn = RandomMasks.drawn(np.random.default_rng(0), 3000, 7, 0.3, (32, 48))
    mean = drawn.masks(0, 3000, CPU).mean(0)
    assert float((mean - 0.3).abs().max()) < 0.04


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_the_masks_do_not_depend_on_the_batch(batch: int) -> None:
    expected = Collected(rise.run(tiny(), PICTURE, samples=40, seed=4)).tensor("rise")
    seen = Collected(rise.run(tiny(), PICTURE, samples=40, seed=4, batch=batch))
    assert torch.allclose(seen.tensor("rise"), expected, atol=1e-6)
    assert seen.all(Progress)[-1].step == seen.all(Progress)[-1].total == 40


def test_it_streams_the_running_mean() -> None:
    seen = Collected(rise.run(tiny(), PICTURE, samples=40, batch=10))
    half = Collected(rise.run(tiny(), PICTURE, samples=40, batch=20)).all(Preview)[0]
    assert torch.allclose(torch.as_tensor(seen.all(Preview)[1].image), torch.as_tensor(half.image), atol=1e-6)
    assert torch.equal(torch.as_tensor(seen.all(Preview)[-1].image), seen.tensor("rise"))


def test_it_finds_the_corner_that_alone_decides() -> None:
    class Corner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            score = 4 * x[:, :, :8, :8].mean((1, 2, 3))
            return torch.stack([score, torch.zeros_like(score)], 1)

    white = np.full((32, 32, 3), 255, dtype=np.uint8)
    values = Collected(
        rise.run(lens(Corner(), size=32), white, samples=600, cells=4, target=0, measure="score")
    ).tensor("rise")
    assert float(values[:8, :8].mean()) > 1.1 * float(values[16:, 16:].mean())
    row, column = divmod(int(values.argmax()), 32)
    assert row < 10
    assert column < 10


def test_a_unit_has_its_value_averaged_and_that_is_said() -> None:
    seen = Collected(rise.run(tiny(), PICTURE, samples=8, target="conv2:3"))
    assert any("has no probability" in note for note in seen.notes)
    assert seen.tensor("rise").isfinite().all()


def test_of_a_contrast_the_probabilities_are_subtracted() -> None:
    one, other, both = (
        Collected(rise.run(tiny(), PICTURE, samples=8, target=target)).tensor("rise") for target in (1, 2, "1-2")
    )
    assert torch.allclose(one - other, both, atol=1e-6)
