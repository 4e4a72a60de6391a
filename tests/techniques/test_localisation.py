from __future__ import annotations

import pytest
import torch

from convscope_techniques.attribution.localisation import highest, localisation, points_at

MASK = torch.zeros(60, 80, dtype=torch.bool)
MASK[20:30, 40:60] = True


@pytest.mark.parametrize(
    ("at", "hit"), [((25, 50), True), ((25, 25), True), ((25, 24), False), ((38, 71), True), ((39, 71), False)]
)
def test_a_point_within_fifteen_pixels_of_the_object_is_a_hit(at: tuple[int, int], hit: bool) -> None:
    values = torch.zeros(60, 80)
    values[at] = 1
    assert points_at(values, MASK, 15) is hit
    assert points_at(values, MASK, 0) is bool(MASK[at])


def test_the_mask_itself_as_a_map_meets_itself() -> None:
    assert localisation(MASK.float(), MASK).values == {
        "pointing_game": 1.0,
        "mask_iou": 1.0,
        "mask_fraction": pytest.approx(200 / 4800),
    }


def test_as_many_of_the_highest_pixels_are_compared_as_the_mask_has() -> None:
    values = MASK.float()
    values[20:30, 40:50] = -1
    values[50:60, 60:70] = 2
    assert localisation(values, MASK).values["mask_iou"] == pytest.approx(100 / 300)


def test_of_equal_pixels_the_first_are_the_highest() -> None:
    assert highest(torch.zeros(3, 4), 5).flatten().tolist() == [True] * 5 + [False] * 7
