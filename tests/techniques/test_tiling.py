from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from convscope_techniques.synthesis.tiling import Tiling, spans


@given(st.integers(1, 3000), st.sampled_from([128, 192, 512, 768]), st.sampled_from([0, 32, 64]))
def test_what_spans_keep_covers_an_axis_once_and_no_window_is_larger_than_a_tile(
    edge: int, tile: int, margin: int
) -> None:
    found = spans(edge, tile, min(margin, tile // 4))
    covered = [place for span in found for place in range(span.kept.start, span.kept.stop)]
    assert covered == list(range(edge))
    assert all(span.stop - span.start <= tile for span in found)
    assert len({span.stop - span.start for span in found}) == 1


def test_a_picture_that_fits_is_one_window_seen_as_it_is() -> None:
    pixels = torch.rand(1, 3, 100, 128)
    ((window, rows, columns),) = Tiling(128).windows(pixels)
    assert window is pixels
    assert (rows.inner, columns.inner) == (slice(0, 100), slice(0, 128))


@pytest.mark.parametrize("size", [(200, 130), (128, 300)])
def test_what_looks_no_farther_than_the_margin_comes_out_as_from_the_whole_picture(size: tuple[int, int]) -> None:
    pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    conv = nn.Conv2d(3, 3, 9, padding=4, padding_mode="circular").requires_grad_(False)
    whole, mean = Tiling(128).assembled(pixels, lambda window: (conv(window), torch.ones(1)))
    assert torch.allclose(whole, conv(pixels), atol=1e-5)
    assert float(mean) == pytest.approx(1.0)


def test_memory_is_that_of_a_window() -> None:
    seen: list[int] = []

    def watch(window: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(window.numel())
        return window, torch.zeros(1)

    Tiling(768).assembled(torch.zeros(1, 3, 2048, 2048), watch)
    assert max(seen) <= 3 * 768**2
