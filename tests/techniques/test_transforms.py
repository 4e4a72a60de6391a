from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope_techniques.synthesis.transforms import LUCID, Shake, cropped, rotated

PIXELS = torch.rand(2, 3, 40, 30, generator=torch.Generator().manual_seed(0))


def test_sizes_after_a_shake_are_those_of_the_padded_cropped_and_scaled_picture() -> None:
    rng = np.random.default_rng(0)
    heights = {LUCID(PIXELS, rng).shape[-2] for _ in range(60)}
    assert heights == {int((1 + (i - 5) / 50) * (40 + 24 - 8)) - 4 for i in range(11)}


def test_nothing_is_changed_where_nothing_is_asked_for() -> None:
    still = Shake(pad=0, jitter=0, scale=0, rotate=0, last_jitter=0)
    assert torch.equal(still(PIXELS, np.random.default_rng(0)), PIXELS)


def test_a_crop_is_a_part_of_the_picture_from_anywhere() -> None:
    rng = np.random.default_rng(0)
    crops = [cropped(PIXELS, 2, rng) for _ in range(40)]
    parts = [PIXELS[..., top : top + 38, left : left + 28] for top in range(3) for left in range(3)]
    found = {next(i for i, part in enumerate(parts) if torch.equal(part, crop)) for crop in crops}
    assert found == set(range(9))


@pytest.mark.parametrize("quarters", [1, -1, 2])
def test_a_square_turned_by_quarters_is_itself_turned(quarters: int) -> None:
    square = PIXELS[..., :30, :]
    turned = rotated(square, 90 * quarters)
    assert torch.allclose(turned, torch.rot90(square, quarters, (2, 3)), atol=1e-4)


def test_a_turned_picture_that_is_not_square_keeps_its_proportions_and_has_grey_corners() -> None:
    ys, xs = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(61.0) - 30, indexing="ij")
    disk = ((ys**2 + xs**2) < 15**2).float()[None, None].expand(1, 3, -1, -1)
    turned = rotated(disk, 30)
    inside, outside = (ys**2 + xs**2) < 13**2, (ys**2 + xs**2 > 17**2) & (ys.abs() < 5)
    assert torch.allclose(turned[0, 0][inside], torch.ones(()), atol=1e-4)
    assert float(turned[0, 0][outside].abs().max()) < 0.51
    assert float(rotated(torch.zeros(1, 3, 40, 40), 45)[0, 0, 0, 0]) == pytest.approx(0.5)


def test_no_rotation_is_likelier_than_any_other() -> None:
    rng, shake = np.random.default_rng(0), Shake(pad=0, jitter=0, scale=0, rotate=3, last_jitter=0)
    still = sum(torch.equal(shake(PIXELS[..., :30, :], rng), PIXELS[..., :30, :]) for _ in range(120))
    assert 40 < still < 80  # 6 of 12
