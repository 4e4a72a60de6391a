from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from convscope_sdk.errors import TechniqueError
from convscope_techniques.synthesis.centred import Centred
from convscope_techniques.synthesis.regularised_ascent import RegularisedAscent, Rules
from support.zoo import tiny

CANVAS = Centred.of(tiny(), "bytes")
CODE = torch.randn(1, 3, 12, 16, generator=torch.Generator().manual_seed(0)) * 10
GRADIENT = torch.randn(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
BARE = Rules(step_size=3.0)


def step(rules: Rules, code: torch.Tensor = CODE) -> torch.Tensor:
    return RegularisedAscent(rules, CANVAS).next(code, 0.0, -GRADIENT)


def test_without_rules_a_step_is_the_step_size_times_the_gradient() -> None:
    assert torch.equal(step(BARE), CODE + 3.0 * GRADIENT)


def test_progress_gains_what_is_wanted_to_first_order_and_no_step_is_above_the_largest() -> None:
    moved = step(replace(BARE, schedule="progress", progress=2.0)) - CODE
    assert float((moved * GRADIENT).sum()) == pytest.approx(2.0, rel=1e-4)
    capped = step(replace(BARE, schedule="progress", progress=1e9))
    assert torch.equal(capped, step(BARE))


def test_a_normalised_step_has_the_length_of_the_step_size() -> None:
    assert float((step(replace(BARE, schedule="normalised")) - CODE).norm()) == pytest.approx(3.0, rel=1e-5)


def test_blur_comes_in_the_first_step_and_in_every_so_many() -> None:
    update = RegularisedAscent(replace(BARE, blur_radius=1.0, blur_every=3), CANVAS)
    plain = RegularisedAscent(BARE, CANVAS)
    blurred = [not torch.equal(update.next(CODE, 0.0, -GRADIENT), plain.next(CODE, 0.0, -GRADIENT)) for _ in range(7)]
    assert blurred == [True, False, False, True, False, False, True]


def test_pixels_of_small_contribution_are_measured_against_the_gradient_of_the_step() -> None:
    kept = step(replace(BARE, small_contribution=75.0)).abs().sum(1) > 0
    contribution = (step(BARE) * GRADIENT).sum(1).abs()
    assert int(kept.sum()) == kept.numel() // 4
    assert contribution[kept].min() > contribution[~kept].max()


def test_codes_stay_within_a_picture() -> None:
    pixels = CANVAS.pixels(step(replace(BARE, step_size=1e6)))
    assert -1e-6 <= float(pixels.min()) <= float(pixels.max()) <= 1 + 1e-6


def test_a_start_without_a_gradient_is_refused() -> None:
    with pytest.raises(TechniqueError, match="begin with noise"):
        RegularisedAscent(BARE, CANVAS).next(CODE, 0.0, torch.zeros_like(CODE))
