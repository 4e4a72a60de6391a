from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_techniques.texture.candidates import Candidates, gaussian


def test_the_weights_are_the_papers_gaussian() -> None:
    weights = gaussian(11)
    assert np.isclose(weights.sum(), 1)
    assert np.isclose(weights[5, 8] / weights[5, 5], np.exp(-0.5 * (3 / (11 / 6.4)) ** 2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 5, 7]))
def test_errors_are_weighted_mean_squares_over_what_is_known(seed: int, window: int) -> None:
    rng = np.random.default_rng(seed)
    sample = rng.random((12, 10, 3), dtype=np.float32)
    template = rng.random((window, window, 3), dtype=np.float32)
    known = rng.random((window, window)) < 0.5
    known[0, 0] = True
    candidates = Candidates(sample, window)
    weights = gaussian(window) * known
    expected = np.array(
        [
            (weights * np.square(sample[y : y + window, x : x + window] - template).mean(-1)).sum() / weights.sum()
            for y, x in candidates.centres - window // 2
        ]
    )
    assert np.allclose(candidates.errors(template, known), expected, atol=1e-5)
    best, errors = candidates.best(template, known, 0.1)
    assert set(best) == set(np.flatnonzero(expected <= expected.min() * 1.1 + 1e-9))
    assert np.allclose(errors, expected[best], rtol=1e-4)


def test_a_window_of_the_sample_itself_is_found_without_error() -> None:
    sample = np.random.default_rng(1).random((16, 16, 3), dtype=np.float32)
    candidates = Candidates(sample, 5)
    best, errors = candidates.best(sample[4:9, 6:11], np.ones((5, 5), dtype=bool), 0.1)
    assert candidates.centres[best].tolist() == [[6, 8]]
    assert errors.tolist() == [0.0]
