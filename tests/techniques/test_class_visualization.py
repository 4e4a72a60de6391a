from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidParams
from convscope_sdk.events import Image, Predictions, Preview, Progress
from convscope_sdk.inprocess import start
from convscope_techniques.synthesis.class_visualization import ClassVisualizationParams, class_visualization
from support.collected import Collected
from support.fickle import fickle
from support.put_down import put_down
from support.zoo import efficientnet, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(PICTURE).permute(2, 0, 1) / 255
BARE = {"decay": 0.0, "blur_every": 0, "schedule": "constant"}


@pytest.mark.parametrize(
    ("preset", "decay", "blur", "every", "norm", "contribution", "steps"),
    [
        ("yosinski-1", 0, 0.5, 4, 50, 0, 500),
        ("yosinski-2", 0.3, 0, 0, 20, 0, 750),
        ("yosinski-3", 0.0001, 1.0, 4, 0, 0, 1000),
        ("yosinski-4", 0, 0.5, 4, 0, 90, 1000),
    ],
)
def test_presets_are_the_authors(  # noqa: PLR0917 - a row of their table
    preset: str, decay: float, blur: float, every: int, norm: float, contribution: float, steps: int
) -> None:
    params = ClassVisualizationParams(preset=preset)
    assert (params.decay, params.blur_radius, params.blur_every) == (decay, blur, every)
    assert (params.small_norm, params.small_contribution, params.steps) == (norm, contribution, steps)


def test_the_assignments_preset_is_cs231ns() -> None:
    params = ClassVisualizationParams(preset="cs231n")
    assert (params.l2, params.step_size, params.steps, params.blur_every, params.jitter) == (1e-3, 25, 100, 10, 16)


def test_without_rules_a_step_from_a_picture_adds_the_step_size_times_the_gradient() -> None:
    seen = Collected(
        class_visualization.run(tiny(), PICTURE, target=3, steps=1, step_size=2e6, fit="keep", size=48, **BARE)
    )
    leaf = PIXELS[None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(tiny().logits(leaf)[0, 3], leaf)
    expected = (PIXELS + 2e6 * gradient[0] / 255**2).clamp(0, 1)
    assert torch.allclose(seen.tensor("class_visualization"), expected, atol=1e-5)
    assert not torch.allclose(expected, PIXELS, atol=1e-3)


@pytest.mark.parametrize("target", ["class:3", "3-1", "conv3:4", "conv3:4@2,5", "conv2"])
def test_the_objective_rises_for_every_kind_of_target(target: str) -> None:
    seen = Collected(class_visualization.run(tiny(), target=target, steps=12, step_size=1e4, seed=1, **BARE))
    assert seen.scores["objective_after"] > seen.scores["objective_before"]
    assert 0 <= seen.tensor("class_visualization").min() <= seen.tensor("class_visualization").max() <= 1
    assert [p.step for p in seen.all(Progress)] == list(range(1, 13))
    assert len(seen.all(Preview)) == 2


@pytest.mark.parametrize("preset", sorted(ClassVisualizationParams.presets))
def test_every_preset_climbs(preset: str) -> None:
    seen = Collected(class_visualization.run(fickle(), preset=preset, target="class:3", steps=30, seed=1))
    assert seen.scores["objective_after"] > seen.scores["objective_before"]


def test_whether_the_class_won_is_what_the_network_says_to_the_picture() -> None:
    seen = Collected(class_visualization.run(fickle(), target=2, steps=40, step_size=1e5, seed=1))
    logits = fickle().logits(seen.tensor("class_visualization")[None])[0]
    assert seen.scores["target_probability"] == pytest.approx(float(logits.softmax(0)[2]), rel=1e-4)
    assert seen.scores["target_won"] == float(logits.argmax() == 2)
    assert seen.scores["target_won"] == 1
    assert 0 < seen.scores["first_won_at_step"] <= 40
    assert seen.all(Predictions)[0].items[0][0] == int(logits.argmax())


def test_a_start_at_zero_is_the_mean_colour_and_one_from_noise_depends_on_the_seed() -> None:
    def first(seed: int, **params: object) -> torch.Tensor:
        run = class_visualization.run(tiny(), seed=seed, steps=1, step_size=1e-9, target=1, **params)
        return Collected(run).tensor("class_visualization")

    assert float(first(0, start="zero").std((1, 2)).max()) == pytest.approx(0, abs=1e-5)
    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_a_start_from_a_picture_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidParams, match="give one"):
        list(class_visualization.run(tiny(), start="image"))


@pytest.mark.parametrize(
    "params",
    [{"preset": "simonyan-2013"}, {"preset": "yosinski-1"}, {"preset": "yosinski-4"}, {"preset": "cs231n"}],
    ids=lambda params: params["preset"],
)
def test_it_goes_on_where_it_was_put_down(params: dict[str, str]) -> None:
    check_goes_on_where_it_was_put_down(Subject(class_visualization, params={"size": 32, "steps": 11, **params}))


def test_a_class_that_won_before_the_target_was_another_one_is_not_said_to_be_the_new_one() -> None:
    params = {"target": 2, "steps": 40, "step_size": 1e5}
    before, saved = put_down(class_visualization, fickle(), state=20, params=params, seed=1)
    steered = Collected(start(class_visualization, fickle(), saved=saved, params={**params, "target": 5}, seed=1))
    assert [p.step for p in before.all(Progress)][-1] == 20
    assert [p.step for p in steered.all(Progress)] == list(range(21, 41))
    assert Collected(class_visualization.run(fickle(), seed=1, **params)).scores["first_won_at_step"] < 20
    assert steered.scores["first_won_at_step"] >= 20
    assert steered.all(Predictions)[0].items[0][0] == 5


def test_a_penalty_may_be_made_larger_on_the_way() -> None:
    params = {"target": 2, "steps": 30, "step_size": 1e3, "decay": 0.0}
    before, saved = put_down(class_visualization, fickle(), state=15, params=params, seed=1)
    steered = Collected(start(class_visualization, fickle(), saved=saved, params={**params, "l2": 1e-4}, seed=1))
    assert "l2" not in before.all(Progress)[-1].metrics
    assert steered.scores["objective_l2_after"] < 0.2 * steered.scores["objective_l2_before"]


@pytest.mark.slow
def test_a_network_that_has_seen_flamingos_soon_takes_the_picture_for_one() -> None:
    run = class_visualization.run(efficientnet(), preset="yosinski-3", target="class:flamingo", steps=60, size=128)
    seen = Collected(run)
    assert seen.scores["target_won"] == 1
    assert seen.scores["probability_shaken"] > 0.1


@pytest.mark.slow
def test_a_cup_of_coffee_turns_into_a_cat_and_stays_near_itself() -> None:
    coffee = skimage.data.coffee()
    seen = Collected(
        class_visualization.run(
            efficientnet(), coffee, target='class:"Egyptian cat"', preset="cs231n", steps=15, size=128
        )
    )
    assert seen.scores["objective_after"] > seen.scores["objective_before"] + 5
    assert seen.scores["l2"] < 0.5 * 0.5 * (3 * 128 * 128) ** 0.5
    assert seen.one(Image, "stretched")
