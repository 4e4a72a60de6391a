from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_techniques.synthesis.octaves import MIN_EDGE, octave_sizes, resized

EDGE = st.integers(16, 4096)


@settings(deadline=None)
@given(EDGE, EDGE, st.integers(1, 16), st.floats(1.05, 4))
def test_octaves_grow_to_the_picture_by_the_formula_and_never_get_too_small(
    height: int, width: int, count: int, scale: float
) -> None:
    sizes = octave_sizes(height, width, count, scale)
    assert 1 <= len(sizes) <= count
    assert sizes[-1] == (height, width)
    assert sizes == [(int(height / scale**k), int(width / scale**k)) for k in reversed(range(len(sizes)))]
    assert all(min(size) >= MIN_EDGE for size in sizes[:-1])


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 40), st.integers(2, 40))
def test_resizing_keeps_flat_pictures_flat_and_own_size_untouched(h: int, w: int, nh: int, nw: int) -> None:
    flat = torch.full((1, 3, h, w), 0.3)
    assert torch.allclose(resized(flat, (nh, nw)), torch.full((1, 3, nh, nw), 0.3), atol=1e-6)
    pixels = torch.rand(1, 3, h, w)
    assert resized(pixels, (h, w)) is pixels
