from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from convscope_techniques.segmentation.colour_model import ColourModel, split

RNG = np.random.default_rng(0)
BLOBS = np.concatenate([RNG.normal(centre, 5, (200, 3)) for centre in ((20, 30, 40), (200, 190, 30), (90, 220, 240))])


def test_a_split_parts_clusters_that_lie_apart() -> None:
    components = split(BLOBS[:400], 2)
    assert [len(set(components[start : start + 200].tolist())) for start in (0, 200)] == [1, 1]
    assert components[0] != components[399]


def test_there_are_as_many_components_as_asked_for() -> None:
    assert [len(set(split(BLOBS, k).tolist())) for k in (1, 2, 5)] == [1, 2, 5]


def test_costs_are_minus_the_logarithm_of_weighted_densities_as_scikit_learn_has_them() -> None:
    model = ColourModel.clustered(BLOBS, 3)
    referee = GaussianMixture(3)
    referee.weights_, referee.means_ = model.weights, model.means
    referee.precisions_cholesky_ = np.linalg.cholesky(model.precisions)
    theirs = -referee._estimate_weighted_log_prob(BLOBS)
    assert np.allclose(model.costs(BLOBS), theirs, rtol=1e-9)
    assert np.allclose(model.cost(BLOBS), theirs.min(1), rtol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 8))
def test_learning_anew_never_explains_the_colours_worse(seed: int, k: int) -> None:
    colours = np.random.default_rng(seed).uniform(0, 255, (60, 3))
    model = ColourModel.clustered(colours, k)
    # The variance that keeps flat regions finite is no part of the likelihood: hence the slack.
    assert model.relearned(colours).cost(colours).sum() <= model.cost(colours).sum() * (1 + 1e-6)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_one_colour_makes_one_finite_component(count: int) -> None:
    model = ColourModel.clustered(np.full((count, 3), 7.0), 5)
    assert len(model.weights) == 1
    assert np.isfinite(model.cost(BLOBS)).all()
