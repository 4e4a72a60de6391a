from __future__ import annotations

import numpy as np
import torch

from convscope_sdk.target import Target
from convscope_techniques.attribution.gradients import gradients
from convscope_techniques.segmentation.views import View, ten_crops
from support.zoo import tiny

IMAGE = torch.from_numpy(np.random.default_rng(0).random((1, 3, 32, 40), dtype=np.float32))
TARGET = Target.parse(3)


def test_there_are_five_places_each_seen_twice_and_together_they_cover_the_picture() -> None:
    views = ten_crops(32, 40)
    assert len(views) == 10
    assert sum(view.mirrored for view in views) == 5
    times = torch.zeros(32, 40)
    for view in views:
        assert (view.rows.stop - view.rows.start, view.columns.stop - view.columns.start) == (28, 35)
        times[view.rows, view.columns] += 1
    assert times.min() == 2
    assert times.max() == 10


def test_the_view_of_everything_has_the_pictures_own_gradient() -> None:
    view = View(slice(0, 32), slice(0, 40), mirrored=False)
    assert torch.equal(view.of(IMAGE), IMAGE)
    assert torch.allclose(view.gradient(tiny(), IMAGE, TARGET), gradients(tiny(), IMAGE, TARGET), atol=1e-7)


def test_a_mirrored_view_has_the_mirrored_pictures_gradient_in_place() -> None:
    view = View(slice(0, 32), slice(0, 40), mirrored=True)
    theirs = gradients(tiny(), IMAGE.flip(-1), TARGET).flip(-1)
    assert torch.allclose(view.gradient(tiny(), IMAGE, TARGET), theirs, atol=1e-7)


def test_beyond_its_part_a_view_has_no_gradient() -> None:
    gradient = View(slice(4, 32), slice(0, 35), mirrored=True).gradient(tiny(), IMAGE, TARGET)
    assert not gradient[..., :4, :].any()
    assert not gradient[..., 35:].any()
    assert gradient[..., 4:, :35].any()
