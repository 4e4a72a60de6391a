from __future__ import annotations

import numpy as np
import pytest

from convscope_techniques.embedding import regular_grid
from convscope_techniques.embedding.regular_grid import RegularGrid, place


def _place(layout: np.ndarray, rows: int | None = None, columns: int | None = None) -> tuple[list[float], RegularGrid]:
    rounds, costs = place(layout, rows, columns), []
    while True:
        try:
            costs.append(next(rounds).cost)
        except StopIteration as end:
            return costs, end.value


def _clusters(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(12, 2))[rng.integers(0, 12, count)] + 0.1 * rng.normal(size=(count, 2))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 30, 100])
def test_every_point_has_a_cell_of_its_own(count: int) -> None:
    _, grid = _place(_clusters(count))
    assert len(set(grid.cells.tolist())) == count
    assert grid.rows * grid.columns >= count
    assert sorted(grid.images()[grid.images() >= 0]) == list(range(count))
    assert grid.exact


@pytest.mark.parametrize(("count", "rows", "columns"), [(1100, None, None), (1100, 20, 60), (1156, 34, 34)])
def test_many_points_too_and_each_round_costs_less(count: int, rows: int | None, columns: int | None) -> None:
    costs, grid = _place(_clusters(count), rows, columns)
    assert len(set(grid.cells.tolist())) == count
    assert grid.cells.max() < grid.rows * grid.columns
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == grid.cost
    assert not grid.exact


def test_points_on_a_grid_stay_where_they_are() -> None:
    points = np.stack(np.meshgrid(np.arange(6.0), np.arange(4.0)), axis=-1).reshape(-1, 2)
    _, grid = _place(points, 4, 6)
    np.testing.assert_array_equal(grid.cells, np.arange(24))
    assert grid.cost == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("count", [12, 1100])
def test_points_at_one_place_are_a_bijection_too(count: int) -> None:
    _, grid = _place(np.zeros((count, 2)))
    assert len(set(grid.cells.tolist())) == count


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        _place(np.zeros((5, 2)), 2, 2)


def test_windows_come_near_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = _clusters(900, seed=3)
    _, best = _place(layout)
    monkeypatch.setattr(regular_grid, "EXACT_UP_TO", 10)
    _, near = _place(layout)
    assert best.cost <= near.cost <= 1.02 * best.cost
