from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_techniques.segmentation.graph_cut import Grid


def test_every_pixel_has_its_eight_neighbours_once() -> None:
    grid = Grid.over(np.zeros((4, 5, 3)), 50)
    pairs = {frozenset(pair) for pair in zip(grid.first.tolist(), grid.second.tolist(), strict=True)}
    expected = {
        frozenset((y * 5 + x, v * 5 + u))
        for y, x, v, u in itertools.product(range(4), range(5), range(4), range(5))
        if max(abs(y - v), abs(x - u)) == 1
    }
    assert pairs == expected
    assert len(grid.first) == len(expected)


def test_a_border_costs_less_where_colours_differ_and_along_a_diagonal() -> None:
    picture = np.zeros((2, 3, 3))
    picture[:, 2] = 100
    weights = {
        (int(a), int(b)): float(w)
        for a, b, w in zip(
            *(getattr(Grid.over(picture, 50), name) for name in ("first", "second", "weights")), strict=True
        )
    }
    assert weights[0, 1] == pytest.approx(50)
    assert weights[0, 4] == pytest.approx(50 / np.sqrt(2))
    beta = 1 / (2 * 30000 * 4 / 11)  # 4 of 11 pairs part black from grey
    assert weights[1, 2] == pytest.approx(50 * np.exp(-beta * 30000))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31))
def test_no_labelling_costs_less_than_the_cut(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid.over(rng.uniform(0, 255, (3, 3, 3)), 3.0)
    costs = rng.uniform(0, 10, (2, 9))
    best = grid.energy(grid.cut(*costs), *costs)
    least = min(grid.energy(np.array(labels), *costs) for labels in itertools.product((False, True), repeat=9))
    assert best == pytest.approx(least, abs=0.02)  # energies are counted in thousandths


def test_large_energies_are_counted_in_coarser_parts_and_do_not_overflow() -> None:
    grid = Grid.over(np.zeros((20, 20, 3)), 50)
    left = np.tile(np.arange(20) < 10, 20)
    labels = grid.cut(np.where(left, 0.0, 1e7), np.where(left, 1e7, 0.0))
    assert np.array_equal(labels, left)
