"""Yosinski's rules against SciPy, NumPy and a step written out as in the authors' description."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from convscope_techniques.synthesis.centred import Centred
from convscope_techniques.synthesis.class_visualization import ClassVisualizationParams
from convscope_techniques.synthesis.regularised_ascent import (
    RegularisedAscent,
    Rules,
    gaussian_blurred,
    without_small,
)
from support.zoo import tiny

Array = NDArray[np.float64]
CANVAS = Centred.of(tiny(), "bytes")
CODE = torch.randn(1, 3, 20, 27, generator=torch.Generator().manual_seed(0)) * 40


@pytest.mark.parametrize("radius", [0.3, 0.5, 1.0, 2.6, 9.0])
def test_the_blur_is_scipys(radius: float) -> None:
    expected = np.stack([gaussian_filter(channel, radius, truncate=4) for channel in CODE[0].numpy()])
    assert np.allclose(gaussian_blurred(CODE, radius)[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("percentile", [1, 20, 50, 90, 99.5])
def test_the_percentile_is_numpys(percentile: float) -> None:
    amount = CODE.norm(dim=1, keepdim=True)
    kept = without_small(CODE, amount, percentile).numpy()
    small = amount.numpy() < np.percentile(amount.numpy(), percentile)
    assert np.array_equal(kept, np.where(small, 0, CODE.numpy()))


@pytest.mark.parametrize("preset", ["yosinski-1", "yosinski-2", "yosinski-3", "yosinski-4"])
def test_steps_come_in_the_order_of_the_authors(preset: str) -> None:
    rules = ClassVisualizationParams(preset=preset).rules()
    update = RegularisedAscent(rules, CANVAS)
    mean = 255 * CANVAS.mean[0].double().numpy()
    ours, theirs = CODE, CODE[0].double().numpy()
    for step in range(6):
        gradient = torch.randn(CODE.shape, generator=torch.Generator().manual_seed(step)) / 10
        ours = update.next(ours, 0.0, -gradient)
        theirs = _their_step(theirs, gradient[0].double().numpy(), step, rules, mean)
        assert np.allclose(ours[0].numpy(), theirs, atol=1e-2)


def _their_step(x: Array, g: Array, step: int, rules: Rules, mean: Array) -> Array:
    rate = rules.step_size
    if rules.schedule == "progress":
        rate = min(rate, rules.progress / np.linalg.norm(g) ** 2)
    x = (x + rate * g) * (1 - rules.decay)
    if rules.blur_every and step % rules.blur_every == 0:
        x = np.stack([gaussian_filter(channel, rules.blur_radius) for channel in x])
    x = _zeroed(x, np.linalg.norm(x, axis=0), rules.small_norm)
    x = _zeroed(x, np.abs((x * g).sum(0)), rules.small_contribution)
    return np.asarray(np.clip(x + mean, 0, 255) - mean)


def _zeroed(x: Array, amount: Any, percentile: float) -> Array:
    return np.where(amount < np.percentile(amount, percentile), 0, x) if percentile else x
