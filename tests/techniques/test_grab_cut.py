from __future__ import annotations

import itertools

import numpy as np
import pytest
import skimage.data
from skimage.transform import resize

from convscope_techniques.segmentation.grab_cut import GrabCut

PICTURE = resize(skimage.data.coffee(), (48, 64), anti_aliasing=True) * 255
CUP = np.zeros((48, 64), dtype=np.bool_)
CUP[8:16, 14:34] = True
TABLE = np.zeros((48, 64), dtype=np.bool_)
TABLE[:, :5] = True


@pytest.mark.parametrize("fixed", [False, True])
def test_energies_never_rise_once_models_are_made_of_a_cut(fixed: bool) -> None:
    energies = [cut.energy for cut in GrabCut(PICTURE, CUP, TABLE, steps=6, fixed=fixed)]
    assert len(energies) == 7
    assert all(later <= earlier + 1.0 for earlier, later in itertools.pairwise(energies[1:]))
    assert energies[-1] < 0.98 * energies[0]


def test_fixed_seeds_keep_their_side() -> None:
    for cut in GrabCut(PICTURE, CUP, TABLE, fixed=True):
        assert cut.labels[CUP].all()
        assert not cut.labels[TABLE].any()


def test_a_red_disc_on_green_is_cut_out_exactly() -> None:
    y, x = np.mgrid[:40, :40]
    disc = (y - 20) ** 2 + (x - 18) ** 2 < 100
    picture = np.where(disc[..., None], [200.0, 30.0, 30.0], [30.0, 160.0, 60.0])
    picture += np.random.default_rng(0).normal(0, 6, picture.shape)
    seeds = np.zeros((2, 40, 40), dtype=np.bool_)
    seeds[0, 18:22, 16:20] = seeds[1, :4] = True
    *_, last = GrabCut(picture, *seeds)
    assert np.array_equal(last.labels, disc)


def test_it_ends_where_one_side_is_left_without_pixels() -> None:
    picture = np.full((8, 8, 3), 128.0)
    seeds = np.zeros((2, 8, 8), dtype=np.bool_)
    seeds[0, 0, 0] = seeds[1, 7, 7] = True
    (only,) = GrabCut(picture, *seeds)
    assert only.labels.all() or not only.labels.any()


@pytest.mark.parametrize("done", [1, 2, 4, 7])
def test_it_goes_on_from_its_state(done: int) -> None:
    whole, other = (GrabCut(PICTURE, CUP, TABLE, steps=6) for _ in range(2))
    cuts = list(itertools.islice(whole, done))
    assert len(cuts) == done
    other.load_state_dict(whole.state_dict())
    for one, same in itertools.zip_longest(whole, other):
        assert np.array_equal(one.labels, same.labels)
        assert one.energy == same.energy
