from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_techniques.attribution.windows import Windows

EDGE = st.integers(1, 24)


@settings(deadline=None)
@given(EDGE, EDGE, st.integers(1, 30), st.integers(1, 30))
def test_positions_and_cuts_follow_the_formula(height: int, width: int, window: int, stride: int) -> None:
    stride = min(stride, window)
    windows = Windows.over(height, width, window, stride)
    assert windows.grid == tuple(max(math.ceil((e - window) / stride), 0) + 1 for e in (height, width))
    masks = windows.masks(0, len(windows))
    for n, mask in enumerate(masks[:, 0]):
        y, x = (i * stride for i in divmod(n, windows.grid[1]))
        expected = torch.zeros(height, width, dtype=torch.bool)
        expected[y : y + window, x : x + window] = True
        assert torch.equal(mask, expected)
        assert mask.any()
    assert masks.any(0).all()


@settings(deadline=None)
@given(st.tuples(EDGE, EDGE), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31), st.floats(0, 1))
def test_spread_is_the_mean_over_the_windows_seen_so_far(
    size: tuple[int, int], window: int, stride: int, seed: int, part: float
) -> None:
    windows = Windows.over(*size, window, min(stride, window))
    seen = int(part * len(windows))
    values = torch.randn(seen, generator=torch.Generator().manual_seed(seed))
    masks = windows.masks(0, seen)[:, 0].double()
    expected = torch.einsum("n,nhw->hw", values.double(), masks) / masks.sum(0).clamp(min=1)
    assert torch.allclose(windows.spread(values), expected.float(), atol=1e-6)


@settings(deadline=None)
@given(EDGE, EDGE, st.integers(1, 12))
def test_boxes_are_where_the_masks_are(height: int, width: int, window: int) -> None:
    windows = Windows.over(height, width, window, window)
    for mask, ((top, bottom), (left, right)) in zip(
        windows.masks(0, len(windows)), windows.boxes(0, len(windows)), strict=True
    ):
        expected = torch.zeros(height, width, dtype=torch.bool)
        expected[top:bottom, left:right] = True
        assert torch.equal(mask[0], expected)
    assert windows.boxes(1, len(windows) + 3) == windows.boxes(0, len(windows))[1:]


def test_a_batch_of_masks_is_a_slice_of_all() -> None:
    windows = Windows.over(20, 30, 8, 5)
    assert torch.equal(windows.masks(3, 9), windows.masks(0, len(windows))[3:9])
    assert len(windows.masks(len(windows) - 2, len(windows) + 10)) == 2
