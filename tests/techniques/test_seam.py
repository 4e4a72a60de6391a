from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convscope_techniques.texture.seam import cheapest_seam, kept_mask

COSTS = hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.integers(0, 20))


@given(COSTS)
def test_no_connected_way_down_is_cheaper(cost: np.ndarray) -> None:
    rows, columns = cost.shape
    seam = cheapest_seam(cost)
    assert (np.abs(np.diff(seam)) <= 1).all()
    ways = itertools.product(range(columns), repeat=rows)
    connected = [way for way in ways if all(abs(a - b) <= 1 for a, b in itertools.pairwise(way))]
    assert cost[np.arange(rows), seam].sum() == min(cost[np.arange(rows), list(way)].sum() for way in connected)


@given(COSTS)
def test_what_lies_left_of_the_seam_is_kept(cost: np.ndarray) -> None:
    assert kept_mask(cost).sum(1).tolist() == cheapest_seam(cost).tolist()
