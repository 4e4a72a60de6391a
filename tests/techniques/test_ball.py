from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope_techniques.synthesis.ball import Ball, Norm

NORMS = get_args(Norm)
SHAPE = (1, 3, 6, 8)
balls = st.builds(Ball, st.sampled_from(NORMS), st.floats(1e-3, 3.0))
seeds = st.integers(0, 10_000)


def picture(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, SHAPE, generator=torch.Generator().manual_seed(seed)) / 255


def noise(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed + 1))


def length(ball: Ball, change: torch.Tensor) -> float:
    return float(change.abs().max() if ball.norm == "linf" else change.norm())


@given(balls, seeds, st.floats(0, 2))
def test_what_is_projected_is_a_picture_in_the_ball_and_stays_where_it_is(ball: Ball, seed: int, far: float) -> None:
    image = picture(seed)
    moved = image + far * noise(seed)
    inside = ball.project(image, moved)
    assert length(ball, inside - image) <= ball.epsilon + 1e-6
    assert 0 <= float(inside.min()) <= float(inside.max()) <= 1
    assert torch.allclose(ball.project(image, inside), inside, atol=1e-6)


@given(balls, seeds)
def test_a_random_start_is_in_the_ball(ball: Ball, seed: int) -> None:
    image = picture(seed)
    assert 0 < length(ball, ball.random(image) - image) <= ball.epsilon + 1e-6


@given(balls, seeds)
def test_rounded_to_8_bits_it_is_still_in_the_ball(ball: Ball, seed: int) -> None:
    image = picture(seed)
    saved = ball.on_grid(image, ball.project(image, image + noise(seed)))
    assert length(ball, saved - image) <= ball.epsilon * (1 + 1e-4) + 1e-6
    assert torch.allclose(saved * 255, (saved * 255).round(), atol=1e-4)


def test_whole_steps_survive_rounding() -> None:
    ball, image = Ball("linf", 8 / 255), picture(3)
    moved = (image + 8 / 255 * noise(3).sign()).clamp(0, 1)
    assert torch.allclose(ball.on_grid(image, moved), moved, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_no_step_of_length_one_gains_more_than_the_direction(norm: Norm) -> None:
    gradient = noise(0)
    ball = Ball(norm, 1.0)
    best = ball.direction(gradient)
    assert length(ball, best) == pytest.approx(1.0, rel=1e-5)
    for seed in range(1, 21):
        other = noise(seed)
        assert float((gradient * other / length(ball, other)).sum()) <= float((gradient * best).sum())
