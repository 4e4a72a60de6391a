from __future__ import annotations

import numpy as np

from convscope_sdk.layers import LayerInfo
from convscope_sdk.receptive_field import ReceptiveField
from convscope_techniques.units.patch import Box, seen_by

PICTURE = np.arange(3 * 8 * 8, dtype=np.float32).reshape(3, 8, 8) / 192


def test_a_box_inside_is_cut_out() -> None:
    np.testing.assert_array_equal(Box(2, 1, 5, 7).crop(PICTURE), PICTURE[:, 2:5, 1:7])


def test_a_box_over_the_border_is_padded_with_grey_and_not_shifted() -> None:
    patch = Box(-2, 5, 3, 10).crop(PICTURE)
    assert patch.shape == (3, 5, 5)
    np.testing.assert_array_equal(patch[:, 2:, :3], PICTURE[:, :3, 5:])
    assert (patch[:, :2] == 0.5).all()
    assert (patch[:, :, 3:] == 0.5).all()


def test_where_the_whole_picture_is_seen_nothing_is_padded() -> None:
    np.testing.assert_array_equal(Box(-50, -60, 90, 80).crop(PICTURE), PICTURE)
    assert Box(-50, 3, 90, 6).crop(PICTURE).shape == (3, 8, 3)


def test_a_layer_that_may_see_everything_sees_the_picture() -> None:
    field = ReceptiveField((5, 5), (2, 2), (-1, -1))
    layer = LayerInfo("a", "Conv2d", (4, 3, 3), 0, False, field, "a")
    assert seen_by(layer, (1, 2), (8, 8)) == Box(1, 3, 6, 8)
    anywhere = LayerInfo("b", "Linear", (4,), 0, False, None, "b")
    assert seen_by(anywhere, (0, 0), (8, 9)) == Box(0, 0, 8, 9)
