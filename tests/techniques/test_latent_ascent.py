from __future__ import annotations

from typing import Any

import pytest
import torch

from convscope_sdk.errors import TechniqueError
from convscope_techniques.synthesis.latent_ascent import CodeRules, LatentAscent
from convscope_techniques.synthesis.update import Normalised

SIGMA = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.1
CODE = torch.rand(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
GRADIENT = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(2))
FREE = torch.full_like(SIGMA, torch.inf)


def rules(**changes: Any) -> CodeRules:
    given: dict[str, Any] = {
        "steps": 200,
        "first": 8.0,
        "last": 1e-10,
        "low": 0 * SIGMA,
        "high": 3 * SIGMA,
        "sigma": SIGMA,
        **changes,
    }
    return CodeRules(**given)


def test_the_rate_falls_in_a_line_from_eight_to_nothing() -> None:
    assert rules().rate(0) == 8
    assert rules().rate(100) == pytest.approx(4)
    assert rules().rate(199) == pytest.approx(0.04)


def test_a_free_step_moves_units_by_the_rate_on_average_and_each_code_by_its_own_gradient() -> None:
    update = LatentAscent(rules(low=-FREE, high=FREE, keep=1.0))
    moved = update.next(CODE, 0.0, GRADIENT * torch.tensor([1.0, 1e6]).view(2, 1, 1, 1)) - CODE
    assert moved.abs().flatten(1).mean(1).tolist() == pytest.approx([8, 8], rel=1e-4)
    assert bool((moved * GRADIENT < 0).all())


def test_without_bounds_and_decay_it_is_plain_normalised_ascent() -> None:
    plain = Normalised(lambda step: 8.0 * (1 - step / 200))
    update = LatentAscent(rules(low=-FREE, high=FREE, keep=1.0, last=0.0))
    ours = theirs = CODE[:1]
    for step in range(5):
        gradient = GRADIENT[:1] * (step + 1)
        ours, theirs = update.next(ours, 0.0, gradient), plain.next(theirs, 0.0, gradient)
    assert torch.allclose(ours, theirs, rtol=1e-5)


def test_codes_stay_between_nothing_and_three_deviations_and_decay_comes_last() -> None:
    moved = LatentAscent(rules()).next(CODE, 0.0, GRADIENT)
    assert bool((moved >= 0).all())
    assert bool((moved <= 3 * SIGMA).all())
    at_bound = moved[0][GRADIENT[0] < -1]
    assert torch.allclose(at_bound, (0.99 * 3 * SIGMA)[GRADIENT[0] < -1])


def test_noise_is_in_units_of_each_units_deviation() -> None:
    torch.manual_seed(0)
    wide = rules(low=-FREE, high=FREE, keep=1.0, first=0.0, last=0.0, noise=0.5)
    moved = LatentAscent(wide).next(CODE.expand(2, 4, 3, 3).repeat(2000, 1, 1, 1), 0.0, GRADIENT.repeat(2000, 1, 1, 1))
    spread = (moved - CODE.repeat(2000, 1, 1, 1)).std(0)
    assert torch.allclose(spread, 0.5 * SIGMA, rtol=0.1)


def test_a_target_that_nothing_moves_is_refused_at_the_start_only() -> None:
    update = LatentAscent(rules())
    with pytest.raises(TechniqueError, match="another seed or target"):
        update.next(CODE, 0.0, torch.zeros_like(CODE))
    update = LatentAscent(rules(high=FREE))
    update.next(CODE, 0.0, GRADIENT)
    assert torch.equal(update.next(CODE, 0.0, torch.zeros_like(CODE)), CODE * 0.99)
