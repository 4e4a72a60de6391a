from __future__ import annotations

import numpy as np
import pytest

from convscope_techniques.embedding.distances import Metric, compared, nearest, neighbors_in


def test_of_equal_distances_the_smaller_index_comes_first() -> None:
    features = np.array([[3.0], [1.0], [-1.0], [1.0], [0.5]], np.float32)
    found = nearest(np.zeros((1, 1), np.float32), features, 3)
    np.testing.assert_array_equal(found.indices, [[4, 1, 2]])
    np.testing.assert_array_equal(found.distances, [[0.5, 1, 1]])


def test_ties_at_the_last_place_are_cut_by_index() -> None:
    found = nearest(np.zeros((1, 2), np.float32), np.ones((300, 2), np.float32), 4)
    np.testing.assert_array_equal(found.indices, [[0, 1, 2, 3]])


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_a_picture_is_at_distance_0_from_itself_however_long_its_features(metric: Metric) -> None:
    features = (np.random.default_rng(0).normal(size=(20, 400)) + 1000).astype(np.float32)
    distances = compared(features, features, metric)
    np.testing.assert_array_equal(np.diag(distances), 0)
    assert (distances + np.eye(20) > 0).all()


def test_single_precision_loses_nobody() -> None:
    rng = np.random.default_rng(1)
    features = (rng.normal(size=(500, 16)) * 1e-3 + 100).astype(np.float32)  # differences below its resolution
    found = nearest(features[:50], features, 5)
    exact = np.sqrt(((features[:50, None].astype(float) - features[None]) ** 2).sum(-1))
    np.testing.assert_array_equal(found.indices, np.argsort(exact, axis=1, kind="stable")[:, :5])


def test_neighbours_of_a_point_are_others() -> None:
    points = np.zeros((6, 2), np.float32)
    close = neighbors_in(points, 3)
    assert all(row not in near for row, near in enumerate(close))
    np.testing.assert_array_equal(close[4], [0, 1, 2])
    np.testing.assert_array_equal(neighbors_in(points, 2, of=np.array([1])), [[0, 2]])


def test_nothing_but_zeros_has_cosine_0_with_everything() -> None:
    zeros, ones = np.zeros((1, 4), np.float32), np.ones((2, 4), np.float32)
    np.testing.assert_allclose(compared(zeros, ones, "cosine"), [[1, 1]])


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_lengths_at_hand_change_nothing(metric: Metric) -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(300, 17)).astype(np.float32)
    features[7] = features[8]
    features[9] = 0
    queries = np.concatenate([features[5:10], rng.normal(size=(4, 17)).astype(np.float32)])
    lengths = np.einsum("ij,ij->i", features, features)
    with_them = nearest(queries, features, 12, metric, lengths=lengths)
    without = nearest(queries, features, 12, metric)
    np.testing.assert_array_equal(with_them.indices, without.indices)
    np.testing.assert_array_equal(with_them.distances, without.distances)
