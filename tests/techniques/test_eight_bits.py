from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope_techniques.synthesis.eight_bits import reread


@given(st.integers(0, 1000))
def test_a_reader_gets_the_nearest_8_bit_values(seed: int) -> None:
    pixels = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    read = reread(pixels)
    assert torch.allclose(read, (pixels * 255).round() / 255, atol=1e-6)
    assert torch.equal(reread(read), read)
