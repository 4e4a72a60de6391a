from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope_techniques.attribution.batches import batch_size


@given(st.integers(16, 4096), st.integers(16, 4096))
def test_there_is_always_one_and_never_more_than_the_budget(height: int, width: int) -> None:
    image = torch.empty(1, 3, 1, 1).expand(1, 3, height, width)
    count, with_gradients = batch_size(image), batch_size(image, gradients=True)
    assert count == 1 or count * height * width <= 4 * 224 * 224
    assert 1 <= with_gradients <= count
