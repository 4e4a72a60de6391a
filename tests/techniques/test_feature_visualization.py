from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidParams
from convscope_sdk.events import Image, ImageGrid, Preview, Progress
from convscope_sdk.inprocess import start
from convscope_sdk.network import Network
from convscope_techniques.synthesis.feature_visualization import (
    FeatureVisualizationParams,
    feature_visualization,
)
from support.collected import Collected
from support.put_down import put_down
from support.zoo import efficientnet, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
SHORT: dict[str, Any] = {"size": 32, "steps": 12, "pad": 4, "jitter": 3, "last_jitter": 2, "seed": 1}


def visualized(**params: Any) -> Collected:
    return Collected(feature_visualization.run(tiny(), **{**SHORT, **params}))


def test_the_defaults_are_lucids() -> None:
    params = FeatureVisualizationParams()
    assert (params.basis, params.decorrelate, params.size, params.steps) == ("fourier", True, 128, 512)
    assert (params.step_size, params.pad, params.jitter, params.last_jitter) == (0.05, 12, 8, 4)
    assert (params.scale, params.rotate) == (0.1, 10)


@pytest.mark.parametrize("target", ["class:3", "3-1", "conv3:4", "conv3:4@2,5", "conv2"])
@pytest.mark.parametrize("preset", ["lucid-2017", "bare"])
def test_the_objective_rises_for_every_kind_of_target(target: str, preset: str) -> None:
    seen = visualized(target=target, preset=preset)
    assert seen.scores["objective_after"] > seen.scores["objective_before"]
    assert 0 < seen.tensor("feature_visualization").min() < seen.tensor("feature_visualization").max() < 1
    assert [(p.step, p.total) for p in seen.all(Progress)] == [(step, 12) for step in range(1, 13)]
    assert seen.all(Preview)


def test_a_direction_is_climbed_too() -> None:
    seen = visualized(layer="conv2", direction=[1, 0, -1, 0, 0, 0, 2, 0], cosine_power=1, steps=60)
    assert seen.scores["objective_after"] > seen.scores["objective_before"]


def test_a_batch_is_one_picture_for_each_target_with_labels() -> None:
    seen = visualized(targets=["conv2:1", "class:3", "conv2:1"], combine="batch")
    grid = seen.one(ImageGrid, "feature_visualization")
    assert grid.labels == ["conv2:1", "class:3", "conv2:1"]
    pictures = seen.tensor("feature_visualization")
    assert pictures.shape == (3, 3, 32, 32)
    channel = tiny().score(pictures, "conv2:1")
    assert channel[0] > channel[1]
    assert seen.scores["objective_after_class:3"] == pytest.approx(float(tiny().logits(pictures)[1, 3]), rel=1e-4)


def test_a_negative_weight_asks_for_the_opposite() -> None:
    wanted, shunned = (visualized(targets=["conv3:4"], weights=[weight]) for weight in (1, -1))
    values = [float(tiny().score(seen.tensor("feature_visualization")[None], "conv3:4")) for seen in (wanted, shunned)]
    assert values[0] > values[1]
    assert shunned.scores["objective_after"] == pytest.approx(-values[1], rel=1e-4)


def test_diversity_makes_samples_less_alike() -> None:
    def likeness(diversity: float) -> float:
        pictures = visualized(target="conv2:1", samples=3, diversity=diversity, steps=40).tensor(
            "feature_visualization"
        )
        features = tiny().activations(pictures, "conv2")["conv2"].flatten(2)
        grams = torch.nn.functional.normalize((features @ features.mT).flatten(1), dim=1)
        return float((grams @ grams.mT).mean())

    assert likeness(10.0) < likeness(0.0)


def test_it_may_begin_with_a_picture_and_keeps_its_shape() -> None:
    run = feature_visualization.run(
        tiny(), PICTURE, **{**SHORT, "steps": 1, "step_size": 1e-6, "fit": "keep", "size": 56}
    )
    began = Collected(run).tensor("feature_visualization")
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1) / 255
    assert began.shape == (3, 40, 56)
    assert float((began - pixels).abs().median()) < 0.02


def test_the_default_is_the_first_channel_of_a_middle_layer() -> None:
    assert any("relu2:0" in note for note in visualized(steps=1).notes)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"target": "conv2", "targets": ["conv3"]}, "one of target"),
        ({"direction": [1.0]}, "go together"),
        ({"targets": ["conv2"], "weights": [1, 2]}, "one for each"),
        ({"diversity": 1.0}, "samples=2"),
        ({"targets": ["conv2"], "combine": "batch", "samples": 2}, "leave them at 1"),
        ({"jitter": 300, "target": "conv2"}, "larger size"),
    ],
)
def test_what_contradicts_itself_is_refused(params: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParams, match=words):
        visualized(**params)


def test_a_unit_that_does_not_fire_at_first_is_made_to() -> None:
    seen = Collected(feature_visualization.run(silent(), **{**SHORT, "target": "relu1:0", "steps": 60}))
    assert seen.scores["objective_before"] == 0
    assert seen.scores["objective_after"] > 0


def silent() -> Network:
    """Its first channel fires for pictures much brighter than grey alone."""
    net = tiny.__wrapped__()  # one of its own: the zoo's is everybody's
    with torch.no_grad():
        net.module.conv1.weight[0] = 1
        net.module.conv1.bias[0] = -20
    return net


@pytest.mark.parametrize(
    "params",
    [{}, {"preset": "bare"}, {"samples": 2, "diversity": 1.0}, {"combine": "batch", "targets": ("class:1", "class:2")}],
    ids=["lucid", "bare", "samples", "batch"],
)
def test_it_goes_on_where_it_was_put_down(params: dict[str, Any]) -> None:
    short = {"size": 32, "steps": 20, "pad": 4, "jitter": 3, "last_jitter": 2}
    check_goes_on_where_it_was_put_down(Subject(feature_visualization, params={**short, **params}))


def test_pictures_of_a_class_can_be_unlike_each_other_too() -> None:
    seen = visualized(target="class:1", samples=2, diversity=100.0)
    assert seen.scores["objective_diversity_after"] < 0.98 * seen.scores["objective_diversity_before"]


def test_it_turns_to_another_channel_from_the_same_picture() -> None:
    params = {**SHORT, "target": "conv3:1", "steps": 40}
    seed = params.pop("seed")
    before, saved = put_down(feature_visualization, tiny(), state=20, params=params, seed=seed)
    other = {**params, "target": "conv3:4"}
    steered = Collected(start(feature_visualization, tiny(), saved=saved, params=other, seed=seed))
    answers = [-progress.metrics["target"] for progress in steered.all(Progress)]
    assert (len(before.all(Progress)), len(answers)) == (20, 20)
    assert answers[-1] > answers[0] + 0.03
    assert steered.one(Image, "feature_visualization").caption == "what conv3:4 looks for"


@pytest.mark.slow
def test_a_class_is_recognised_in_its_picture() -> None:
    seen = Collected(feature_visualization.run(efficientnet(), target="class:flamingo", steps=60, seed=1))
    assert seen.scores["target_won"] == 1
    assert seen.one(Image, "feature_visualization")
