from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_techniques.synthesis.image_code import Basis, ImageCode

BASES: tuple[Basis, ...] = ("fourier", "pixel")


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 21), st.integers(2, 21), st.sampled_from(BASES), st.booleans())
def test_every_picture_has_a_code_that_stands_for_it(height: int, width: int, basis: Basis, decorrelate: bool) -> None:
    pixels = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height)) * 0.98 + 0.01
    code = ImageCode(height, width, basis, decorrelate)
    assert torch.allclose(code.pixels(code.code(pixels)), pixels, atol=1e-4)


@pytest.mark.parametrize("basis", BASES)
def test_noise_is_a_picture_near_grey_and_its_codes_are_alike_in_shape(basis: Basis) -> None:
    code = ImageCode(32, 24, basis)
    noise = code.noise(2)
    assert noise.shape == code.code(torch.rand(2, 3, 32, 24)).shape
    pixels = code.pixels(noise)
    assert pixels.shape == (2, 3, 32, 24)
    assert float((pixels - 0.5).abs().max()) < 0.25


def test_in_the_spectrum_low_frequencies_move_more_of_the_picture_than_high_ones() -> None:
    code = ImageCode(32, 32, "fourier", decorrelate=False)

    def strength(row: int, column: int) -> float:
        waves = torch.zeros(1, 3, 32, 17, 2)
        waves[:, :, row, column, 0] = 0.1
        return float((code.pixels(waves) - 0.5).std())

    assert strength(0, 1) > 3 * strength(0, 4) > 9 * strength(0, 15)


def test_the_first_principal_colour_is_nearly_grey() -> None:
    bright = torch.zeros(1, 3, 4, 4)
    bright[:, 0] = 1.0
    red, green, blue = ImageCode(4, 4, "pixel").pixels(bright)[0, :, 0, 0].tolist()
    assert min(red, green, blue) > 0.6
    assert max(red, green, blue) - min(red, green, blue) < 0.01
