"""Lucid's parameterization, written in NumPy from its description."""

from __future__ import annotations

import numpy as np
import pytest

from convscope_techniques.synthesis.image_code import ImageCode

COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40), (31, 20)])
def test_a_spectrum_is_weighted_transformed_coloured_and_squashed_as_in_lucid(height: int, width: int) -> None:
    ours = ImageCode(height, width)
    code = ours.noise(1)
    waves = code[0, ..., 0].double().numpy() + 1j * code[0, ..., 1].double().numpy()
    down, across = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[: width // 2 + 1]
    frequency = np.sqrt(down**2 + across**2)
    scale = np.sqrt(width * height) / np.maximum(frequency, 1 / max(width, height))
    values = np.fft.irfft2(scale * waves, s=(height, width)) / 4
    matrix = COLOURS / np.linalg.norm(COLOURS, axis=0).max()
    rgb = np.einsum("hwc,rc->rhw", values.transpose(1, 2, 0), matrix)
    assert np.allclose(ours.pixels(code)[0].numpy(), 1 / (1 + np.exp(-rgb)), atol=1e-6)
