"""Neighbours, principal components, t-SNE, UMAP, trustworthiness and the grid against those who wrote them first."""

from __future__ import annotations

from typing import Any

import numpy as np
import openTSNE
import pytest
import sklearn.manifold
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from convscope_techniques.embedding import tsne
from convscope_techniques.embedding.distances import Metric, nearest
from convscope_techniques.embedding.projection import principal_components, umap_layout
from convscope_techniques.embedding.quality import continuity, trustworthiness
from convscope_techniques.embedding.regular_grid import place
from convscope_techniques.embedding.tsne import Tsne

DIGITS: np.ndarray[Any, Any] = load_digits().data.astype(np.float32)
FEATURES = DIGITS + np.random.default_rng(0).normal(size=DIGITS.shape).astype(np.float32)  # no two distances are equal
NAMES = {"l2": "euclidean", "cosine": "cosine"}


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_neighbours_equal_scikit_learns_brute_force(metric: Metric) -> None:
    peer = NearestNeighbors(n_neighbors=9, algorithm="brute", metric=NAMES[metric]).fit(FEATURES[200:])
    distances, indices = peer.kneighbors(FEATURES[:200])
    found = nearest(FEATURES[:200], FEATURES[200:], 9, metric)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_trustworthiness_equals_scikit_learns(metric: Metric) -> None:
    features, layout = FEATURES[:400], FEATURES[:400, [20, 30]]
    theirs = sklearn.manifold.trustworthiness(features, layout, n_neighbors=7, metric=NAMES[metric])
    assert trustworthiness(features, layout, 7, metric) == pytest.approx(theirs, abs=1e-9)
    if metric == "l2":
        theirs = sklearn.manifold.trustworthiness(layout, features, n_neighbors=7)
        assert continuity(features, layout, 7) == pytest.approx(theirs, abs=1e-9)


def test_principal_components_equal_scikit_learns_up_to_sign() -> None:
    peer = PCA(5).fit(FEATURES)
    theirs, ours = peer.transform(FEATURES), principal_components(FEATURES, 5)
    cosines = (
        (theirs * ours.coordinates).sum(0) / np.linalg.norm(theirs, axis=0) / np.linalg.norm(ours.coordinates, axis=0)
    )
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-4)
    np.testing.assert_allclose(ours.explained, peer.explained_variance_ratio_, rtol=1e-4)


@pytest.mark.parametrize("perplexity", [30, 7])
def test_the_layout_equals_scikit_learns_of_one_call_to_the_last_bit(perplexity: int) -> None:
    points = FEATURES[:150]
    peer = TSNE(perplexity=perplexity, max_iter=600, random_state=5).fit(points)
    *_, last = _frames(Tsne(perplexity, steps=600, every=35, seed=5), points)
    np.testing.assert_array_equal(last.layout, peer.embedding_)


def test_the_layout_equals_opentsnes_of_one_call_for_each_stage_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = FEATURES[:150]
    peer = openTSNE.TSNE(perplexity=20, random_state=5, neighbors="exact").prepare_initial(points)
    tree = {"negative_gradient_method": "bh", "inplace": True}
    peer.optimize(50, exaggeration=12, momentum=0.9, negative_gradient_method="fft", inplace=True)
    peer.optimize(30, momentum=0.8, theta=0.8, **tree)
    peer.optimize(80, momentum=0.95, theta=0.8, **tree)
    peer[:] = min((np.asarray(peer) * size for size in (1, 1.25, 1.5)), key=lambda layout: _divergence(peer, layout))
    peer.optimize(160, momentum=0.8, theta=0.8, **tree)
    peer.optimize(30, momentum=0.8, theta=0.5, **tree)
    monkeypatch.setattr(tsne, "SCIKIT_UP_TO", 100)
    *_, last = _frames(Tsne(20, steps=350, every=35, seed=5), points)
    np.testing.assert_array_equal(last.layout, np.asarray(peer))
    assert last.kl == pytest.approx(peer.kl_divergence)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_layout_equals_umaps_of_one_call() -> None:
    import umap

    points = FEATURES[:80]
    theirs = umap.UMAP(n_neighbors=10, min_dist=0.2, random_state=3, n_jobs=1).fit_transform(points)
    np.testing.assert_array_equal(umap_layout(points, neighbors=10, min_dist=0.2, seed=3), theirs)


def test_the_grid_costs_what_linear_sum_assignment_says_is_least() -> None:
    layout = np.random.default_rng(2).normal(size=(90, 2))
    with pytest.raises(StopIteration) as end:
        next(place(layout, 10, 10))
    grid = end.value.value
    scaled = (layout - layout.min(0)) / np.ptp(layout, axis=0) * 9
    cells = np.stack(np.meshgrid(np.arange(10), np.arange(10)), axis=-1).reshape(-1, 2)
    costs = ((scaled[:, None] - cells[None]) ** 2).sum(-1)
    assert grid.cost == pytest.approx(costs[linear_sum_assignment(costs)].sum())


def _divergence(embedding: openTSNE.TSNEEmbedding, layout: np.ndarray[Any, Any]) -> float:
    """From its definition, all pairs compared."""
    distances = ((layout[:, None] - layout[None]) ** 2).sum(-1)
    affinities = 1 / (1 + distances)
    np.fill_diagonal(affinities, 0)
    p = embedding.affinities.P.toarray()
    q = affinities / affinities.sum()
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


def _frames(layout: Tsne, points: np.ndarray[Any, Any]) -> list[tsne.Frame]:
    found, stream = [], layout.begin(points).run()
    while True:
        try:
            found.append(next(stream))
        except StopIteration as end:
            return [*found, end.value]
