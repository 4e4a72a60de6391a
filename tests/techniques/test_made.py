from __future__ import annotations

import pytest
import torch

from convscope_techniques.synthesis.descent import Outcome
from convscope_techniques.synthesis.made import made_events, picture_scores, term_scores
from support.collected import Collected
from support.zoo import tiny

START = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
MADE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def events(target: str, pixels: torch.Tensor = MADE) -> Collected:
    return Collected(made_events(tiny(), pixels, tiny().resolve(target, START), START))


@pytest.mark.parametrize("target", ["class:3", "4-2", "conv2", "conv2:1", "conv2:1@3,4", "fc:2"])
def test_every_kind_of_target_is_reported_before_and_after(target: str) -> None:
    scores = events(target).scores
    before, after = (float(tiny().score(pixels, target)) for pixels in (START, MADE))
    assert scores["target_before"] == pytest.approx(before, rel=1e-5)
    assert scores["target_after"] == pytest.approx(after, rel=1e-5)


def test_the_class_on_top_wins_and_no_other() -> None:
    winner = int(tiny().logits(MADE).argmax())
    won = [events(f"class:{index}").scores["target_won"] for index in range(7)]
    assert won == [float(index == winner) for index in range(7)]


@pytest.mark.parametrize("place", ["", "@3,4"])
def test_the_channel_that_answers_most_wins_and_no_other(place: str) -> None:
    maps = tiny().activations(MADE, "conv2")["conv2"][0]
    values = maps[:, 3, 4] if place else maps.mean((1, 2))
    won = [events(f"conv2:{channel}{place}").scores["target_won"] for channel in range(8)]
    assert won == [float(channel == int(values.argmax())) for channel in range(8)]


def test_the_gradient_mode_is_what_it_was_between_events() -> None:
    assert all(torch.is_grad_enabled() for _ in made_events(tiny(), MADE, tiny().resolve("conv2:1"), START))


def test_each_term_of_an_objective_is_reported_where_it_began_and_where_it_ended() -> None:
    outcome = Outcome(MADE, MADE, {"target": -1.0, "l2": 0.5}, {"target": -3.0, "l2": 0.25}, 1)
    assert term_scores(outcome).values == {
        "objective_target_before": -1.0,
        "objective_target_after": -3.0,
        "objective_l2_before": 0.5,
        "objective_l2_after": 0.25,
    }


def test_a_picture_is_as_far_as_its_largest_and_its_euclidean_change() -> None:
    scores = picture_scores(MADE, START).values
    assert scores["l2"] == pytest.approx(float((MADE - START).norm()), rel=1e-6)
    assert scores["linf"] == pytest.approx(float((MADE - START).abs().max()), rel=1e-6)
    assert picture_scores(torch.ones(1, 3, 8, 8), START[..., :8, :8]).values["total_variation"] == 0
