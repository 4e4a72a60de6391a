from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope_sdk.events import Note, Predictions
from convscope_techniques.attribution.eigen_cam import eigen_cam, first_component
from support.collected import Collected
from support.zoo import tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
MAPS = torch.rand(1, 5, 4, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("centered", [False, True])
def test_it_is_numpys_first_singular_vector_scaled_by_its_value(centered: bool) -> None:
    matrix = MAPS[0].flatten(1).T.numpy()
    matrix = matrix - matrix.mean(0) if centered else matrix
    left, singular, _ = np.linalg.svd(matrix)
    cam, fraction = first_component(MAPS, centered=centered)
    assert np.allclose(np.abs(cam.numpy().ravel()), np.abs(left[:, 0] * singular[0]), atol=1e-5)
    assert fraction == pytest.approx(singular[0] ** 2 / (singular**2).sum(), rel=1e-5)


def test_of_maps_above_zero_it_is_above_zero_everywhere() -> None:
    assert first_component(MAPS, centered=False)[0].min() > 0


def test_maps_turned_upside_down_turn_it_too() -> None:
    up, down = (first_component(maps, centered=True)[0] for maps in (MAPS, -MAPS))
    assert torch.allclose(up, -down, atol=1e-5)


def test_dead_maps_have_no_component() -> None:
    cam, fraction = first_component(torch.zeros(1, 3, 2, 2), centered=False)
    assert not cam.any()
    assert fraction == 0


def test_it_says_what_the_network_sees_and_explains_no_class() -> None:
    seen = Collected(eigen_cam.run(tiny(), PICTURE))
    assert len(seen.all(Predictions)) == 1
    assert not [note for note in seen.all(Note) if "explains" in note.text]
    assert 0 < seen.scores["explained_fraction"] <= 1
