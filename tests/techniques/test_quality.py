from __future__ import annotations

import numpy as np
import pytest

from convscope_techniques.embedding import distances, quality
from convscope_techniques.embedding.distances import Metric
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


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_it_is_the_same_however_little_is_in_memory_at_once(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    features, layout = rng.normal(size=(60, 7)), rng.normal(size=(60, 2))
    whole = trustworthiness(features, layout, 4, metric), continuity(features, layout, 4, metric)
    monkeypatch.setattr(quality, "_ROWS", 11)
    monkeypatch.setattr(quality, "_DISTANCES", 150)
    monkeypatch.setattr(distances, "_ROWS", 13)
    assert trustworthiness(features, layout, 4, metric) == pytest.approx(whole[0], abs=1e-12)
    assert continuity(features, layout, 4, metric) == pytest.approx(whole[1], abs=1e-12)
