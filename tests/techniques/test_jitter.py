from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope_techniques.texture.jitter import Jitter


@given(st.integers(1, 512), st.integers(0, 1000))
def test_a_few_places_within_reach_take_turns(reach: int, seed: int) -> None:
    jitter = Jitter(reach, np.random.default_rng(seed))
    offsets = [jitter.next() for _ in range(24)]
    assert offsets[:8] == offsets[8:16] == offsets[16:]
    assert all(abs(edge) <= reach for offset in offsets for edge in offset)


def test_a_picture_is_measured_as_it_is() -> None:
    jitter = Jitter(16, np.random.default_rng(0))
    with torch.no_grad():
        assert jitter.next() == (0, 0)
    assert Jitter(0, np.random.default_rng(0)).next() == (0, 0)


def test_it_goes_on_with_the_next_place() -> None:
    jitter, other = Jitter(16, np.random.default_rng(0)), Jitter(16, np.random.default_rng(1))
    for _ in range(11):
        jitter.next()
    other.load_state_dict(jitter.state_dict())
    assert [jitter.next() for _ in range(9)] == [other.next() for _ in range(9)]
