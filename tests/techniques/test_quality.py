from __future__ import annotations

import numpy as np
import pytest

from convscope_techniques.embedding.quality import accuracy, continuity, precision, trustworthiness


def test_a_layout_that_is_the_features_is_perfect() -> None:
    points = np.random.default_rng(0).normal(size=(40, 2))
    assert trustworthiness(points, points, 5) == 1
    assert continuity(points, points, 5) == 1


def test_points_that_fall_together_are_not_trusted_and_points_torn_apart_break_continuity() -> None:
    line = np.arange(40.0)[:, None]
    folded = np.concatenate([np.arange(20.0), np.arange(20.0) + 0.01])[:, None]
    assert trustworthiness(line, folded, 3) < 0.9 < continuity(line, folded, 3)
    assert continuity(folded, line, 3) < 0.9 < trustworthiness(folded, line, 3)


def test_a_sample_of_points_gives_nearly_the_same() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(300, 8))
    layout = features[:, :2]
    sampled = trustworthiness(features, layout, 5, of=np.arange(0, 300, 2))
    assert sampled == pytest.approx(trustworthiness(features, layout, 5), abs=0.03)


def test_accuracy_counts_who_agrees_with_most_of_its_neighbours() -> None:
    points = np.array([[0.0, 0], [0, 1], [1, 0], [10, 10], [10, 11], [11, 10], [0.4, 0.4]])
    labels = ["a", "a", "a", "b", "b", "b", "b"]
    assert accuracy(points, labels, 3) == pytest.approx(6 / 7)


def test_precision_is_the_share_of_neighbours_with_the_label() -> None:
    assert precision(np.array([[0, 1], [1, 2]]), ["a", "b", "b"], ["a", "b"]) == 0.75
