from __future__ import annotations

from typing import get_args

import pytest
import torch

from convscope_techniques.synthesis.centred import Centred, Units
from support.zoo import tiny

PIXELS = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("units", get_args(Units))
def test_a_code_stands_for_its_pixels(units: Units) -> None:
    canvas = Centred.of(tiny(), units)
    assert torch.allclose(canvas.pixels(canvas.code(PIXELS)), PIXELS, atol=1e-6)
    assert torch.equal(canvas.clipped(canvas.code(PIXELS)), canvas.code(PIXELS))


def test_zero_is_the_mean_colour_and_deviations_are_what_the_network_sees() -> None:
    canvas = Centred.of(tiny(), "deviations")
    assert torch.allclose(canvas.code(PIXELS), tiny().normalize(PIXELS), atol=1e-6)
    assert torch.allclose(tiny().normalize(canvas.pixels(torch.zeros(1, 3, 1, 1))), torch.zeros(1), atol=1e-6)


def test_a_stretched_picture_has_grey_where_it_was_mean_and_reaches_an_end_of_the_range() -> None:
    canvas = Centred.of(tiny(), "bytes")
    faint = torch.zeros(1, 3, 4, 4)
    faint[0, 1, 2, 3] = -2.0
    shown = canvas.stretched(canvas.pixels(faint))
    assert float(shown.min()) == pytest.approx(0.0, abs=1e-4)
    assert torch.allclose(shown[0, 0], torch.full((4, 4), 0.5), atol=1e-4)
