from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope_sdk.image_sets.kept import Kept
from convscope_techniques.embedding.cells import Cells
from convscope_techniques.embedding.distances import Metric, nearest


def _clusters(count: int = 4000) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(60, 24)) * 2
    return (centers[rng.integers(0, 60, count)] + rng.normal(size=(count, 24))).astype(np.float32)


def _made(steps: Generator[int, None, Cells]) -> tuple[Cells, list[int]]:
    taken = []
    while True:
        try:
            taken.append(next(steps))
        except StopIteration as end:
            return end.value, taken


def _cells(features: NDArray[np.float32], folder: Path, metric: Metric = "l2") -> Cells:
    return _made(Cells.steps(features, metric, Kept(folder)))[0]


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_nearly_all_neighbours_are_found_and_the_recall_told_is_the_recall_that_is(
    metric: Metric, tmp_path: Path
) -> None:
    features, k = _clusters(), 10
    cells = _cells(features, tmp_path, metric)
    asked = np.random.default_rng(1).choice(len(features), 150, replace=False)
    exact = nearest(features[asked], features, k, metric, but=asked).indices
    found = [cells.nearest(features[row], features, k, metric, but=int(row)) for row in asked]
    shared = [len(np.intersect1d(mine.indices[0], theirs)) for mine, theirs in zip(found, exact, strict=True)]
    recall = sum(shared) / exact.size
    assert recall >= 0.95
    assert cells.recall(k) >= 0.95
    assert cells.recall(k) == pytest.approx(recall, abs=0.05)
    assert not any(row in mine.indices for row, mine in zip(asked, found, strict=True))


def test_of_those_that_are_found_distances_are_exact_and_sorted(tmp_path: Path) -> None:
    features = _clusters()
    found = _cells(features, tmp_path).nearest(features[7], features, 30, "l2")
    assert found.indices[0, 0] == 7
    expected = np.linalg.norm(features[found.indices[0]].astype(float) - features[7].astype(float), axis=1)
    np.testing.assert_allclose(found.distances[0], expected, rtol=1e-6, atol=1e-6)
    assert (np.diff(found.distances[0]) >= 0).all()


def test_every_row_is_in_one_cell(tmp_path: Path) -> None:
    features = _clusters(900)
    cells = _cells(features, tmp_path)
    np.testing.assert_array_equal(np.sort(cells.rows), np.arange(900))
    assert len(cells.centers) == 30
    assert (cells.starts[0], cells.starts[-1]) == (0, 900)


@pytest.mark.parametrize("count", [2, 3, 90])
def test_among_few_rows_the_answer_is_exact(count: int, tmp_path: Path) -> None:
    features = _clusters(count)
    cells = _cells(features, tmp_path)
    found = cells.nearest(features[0], features, count - 1, "l2", but=0)
    np.testing.assert_array_equal(found.indices, nearest(features[:1], features, count - 1, but=np.array([0])).indices)
    assert cells.recall(count - 1) == 1


def test_rows_that_are_all_the_same_are_found_in_order(tmp_path: Path) -> None:
    features = np.ones((300, 5), np.float32)
    found = _cells(features, tmp_path).nearest(features[1], features, 4, "l2", but=1)
    assert found.indices[0].tolist() == [0, 2, 3, 4]


def test_cells_are_mapped_from_disk_the_next_time(tmp_path: Path) -> None:
    features = _clusters(900)
    first, taken = _made(Cells.steps(features, "l2", Kept(tmp_path)))
    assert taken == list(range(1, Cells.steps_for(900) + 1))
    second, taken = _made(Cells.steps(features, "l2", Kept(tmp_path)))
    assert taken == []
    assert isinstance(second.rows, np.memmap)
    np.testing.assert_array_equal(second.rows, first.rows)
    assert second.recall(5) == first.recall(5)
    third, taken = _made(Cells.steps(features, "cosine", Kept(tmp_path)))
    assert taken
    assert not np.array_equal(third.rows, first.rows)
