"""Each method against captum called directly, or against what it is defined to be."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import convscope
from convscope_captum import convscope_techniques
from convscope_captum.deep_lift import deep_lift
from convscope_captum.feature_ablation import feature_ablation
from convscope_captum.gradient_shap import gradient_shap
from convscope_captum.lime import lime
from convscope_captum.lrp import lrp
from convscope_captum.segments import segments_of
from convscope_sdk import Heatmap, ModelSpec, Network, NotApplicable, Scores, Tensor
from convscope_sdk.isolation import ModeGuard, NetworkGuard

EDGE = 24


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def averaged() -> nn.Module:
    module = plain()
    module[3] = nn.AvgPool2d(2)  # type: ignore[index]  # torch types submodules loosely
    return module


def clipped() -> nn.Module:
    module = averaged()
    module[2] = nn.ReLU6(inplace=True)  # type: ignore[index]  # torch types submodules loosely
    module[5] = nn.ReLU6()  # type: ignore[index]  # torch types submodules loosely
    return module


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))  # type: ignore[no-any-return]


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * EDGE * EDGE, 5))


def network(build: Callable[[], nn.Module] = plain) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Network(build(), ModelSpec("tiny", "test", build, input_size=EDGE, random_weights=True))


PICTURE = np.random.default_rng(0).random((EDGE, EDGE, 3)).astype(np.float32)


def made(technique: Any, net: Network, **params: Any) -> tuple[torch.Tensor, dict[str, float], torch.Tensor]:
    """The attribution, the scores, and the map that is drawn."""
    events = list(technique.run(net, PICTURE, size=EDGE, **params))
    scores: dict[str, float] = {}
    for event in events:
        scores |= event.values if isinstance(event, Scores) else {}
    (attribution,) = [event.values for event in events if isinstance(event, Tensor)]
    (drawn,) = [event.values for event in events if isinstance(event, Heatmap)]
    return attribution, scores, drawn


def pixels(net: Network) -> torch.Tensor:
    from convscope_sdk.inprocess import prepare

    return prepare(gradient_shap, net, PICTURE, params={"size": EDGE}).run.image


@pytest.mark.parametrize("build", [averaged, clipped])
def test_deep_lift_contributions_sum_to_the_difference_of_the_scores(build: Callable[[], nn.Module]) -> None:
    net = network(build)
    attribution, scores, drawn = made(deep_lift, net, target="class:3", baseline="black")
    image = pixels(net)
    difference = net.score(image, "class:3") - net.score(torch.zeros_like(image), "class:3")
    assert float(attribution.sum()) == pytest.approx(float(difference), abs=1e-4)
    assert scores["completeness_gap"] < 1e-4
    assert torch.equal(drawn, attribution.sum(0))


def test_deep_lift_says_what_is_missing_where_maxima_move() -> None:
    """Captum's rule for pooling loses what lies where neither picture differs."""
    net = network()
    attribution, scores, _ = made(deep_lift, net, target="class:3")
    image = pixels(net)
    difference = float(net.score(image, "class:3") - net.score(torch.zeros_like(image), "class:3"))
    assert scores["completeness_gap"] == pytest.approx(abs(difference - float(attribution.sum())), abs=1e-5)
    assert scores["completeness_gap"] > 1e-3


def test_deep_lift_is_captums_where_captum_has_rules() -> None:
    from captum.attr import DeepLift

    net = network()

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = net.module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.module(net.normalize(x))  # type: ignore[no-any-return]

    attribution, _, _ = made(deep_lift, net, target="class:1")
    with warnings.catch_warnings(action="ignore"):
        expected = DeepLift(Whole()).attribute(pixels(net), torch.zeros_like(pixels(net)), target=1)
    assert torch.allclose(attribution, expected[0].detach(), atol=1e-6)


def test_lrp_is_captums_and_says_what_biases_keep() -> None:
    from captum.attr import LRP

    class Viewed(nn.Module):
        """The same layers, flattened by a function, which captum can take."""

        def __init__(self, module: Any) -> None:
            super().__init__()
            self.features, self.head = nn.Sequential(*module[:7]), module[8]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.features(x).flatten(1))  # type: ignore[no-any-return]

    net = network()
    attribution, scores, _ = made(lrp, net, target="class:2")
    with warnings.catch_warnings(action="ignore"), torch.enable_grad():
        expected = LRP(Viewed(network().module)).attribute(net.normalize(pixels(net)), target=2)
    assert torch.allclose(attribution, expected[0].detach(), atol=1e-6)
    score = float(net.score(pixels(net), "class:2"))
    assert scores["conservation_gap"] == pytest.approx(abs(score - float(attribution.sum())), abs=1e-4)


def test_gradient_shap_of_a_linear_network_is_the_weight_times_the_mean_difference() -> None:
    net = network(linear)
    attribution, scores, _ = made(gradient_shap, net, target="class:0", samples=400, noise=0.0, batch=50)
    image = pixels(net)
    black, grey = float(net.score(torch.zeros_like(image), 0)), float(net.score(torch.full_like(image, 0.5), 0))
    assert abs(black - grey) > 0.01
    assert scores["completeness_gap"] < 0.1 * abs(float(net.score(image, 0)) - black)
    weight = net.module[1].weight[0].view(3, EDGE, EDGE)  # type: ignore[index, union-attr]  # torch types submodules loosely
    slope = weight / net._std[0]
    assert np.corrcoef(attribution.flatten(), (slope * (image[0] - 0.25)).flatten())[0, 1] > 0.9


def test_feature_ablation_is_the_score_lost_without_each_cell() -> None:
    net = network()
    attribution, scores, _ = made(feature_ablation, net, target="class:4", count=9, baseline="grey", batch=4)
    image = pixels(net)
    parts = segments_of(image, "grid", 9)
    assert scores["parts"] == 9
    for part in range(9):
        hidden = torch.where(parts == part, torch.full_like(image, 0.5), image)
        lost = net.score(image, "class:4") - net.score(hidden, "class:4")
        assert torch.allclose(attribution[0][parts[0, 0] == part], lost, atol=1e-5)


def test_lime_finds_the_weights_of_what_is_linear() -> None:
    net = network(linear)
    options = {"segments": "grid", "count": 16, "samples": 300, "penalty": 0.0001, "kernel_width": 10.0}
    attribution, scores, _ = made(lime, net, target="class:0", baseline="grey", **options)
    image = pixels(net)
    parts = segments_of(image, "grid", 16)
    for part in range(16):
        hidden = torch.where(parts == part, torch.full_like(image, 0.5), image)
        lost = float(net.score(image, 0) - net.score(hidden, 0))
        assert float(attribution[0][parts[0, 0] == part][0]) == pytest.approx(lost, abs=0.02)
    assert scores["fit"] > 0.98


def test_superpixels_cover_the_picture_with_numbers_in_a_row() -> None:
    parts = segments_of(pixels(network()), "slic", 12)
    assert parts.shape == (1, 1, EDGE, EDGE)
    assert parts.unique().tolist() == list(range(int(parts.max()) + 1))


@pytest.mark.parametrize(("technique", "odd"), [(deep_lift, "relu"), (lrp, "relu")], ids=lambda value: str(value)[:20])
def test_what_captum_would_pass_over_in_silence_is_refused_by_name(technique: Any, odd: str) -> None:
    with pytest.raises(NotApplicable, match=odd):
        made(technique, network(Functional))


def test_a_module_that_is_called_twice_is_refused_by_name() -> None:
    """Captum keeps what it saw of a module's last call only."""

    def shared() -> nn.Module:
        relu = nn.ReLU()
        return nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 5, 3), relu, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    for technique in (deep_lift, lrp):
        with pytest.raises(NotApplicable, match="1 is used again"):
            made(technique, network(shared))


@pytest.mark.parametrize("technique", convscope_techniques(), ids=lambda technique: technique.id)
def test_nothing_is_left_between_two_steps(technique: Any) -> None:
    net = network()
    modes, guard = ModeGuard(), NetworkGuard(net.module)
    for _ in technique.run(net, PICTURE, size=EDGE):
        assert modes.leaks() == guard.leaks() == []
    assert not guard.values_changed()


RUNS: list[tuple[str, dict[str, Any]]] = [
    ("captum.deep_lift", {}),
    ("captum.gradient_shap", {"samples": 6, "batch": 1}),
    ("captum.feature_ablation", {"count": 9, "batch": 2}),
    ("captum.lime", {"count": 9, "samples": 12, "batch": 2}),
    ("guided_backprop", {}),
    ("saliency", {}),
]


def test_runs_side_by_side_on_one_network_give_what_they_give_alone() -> None:
    """Captum's hooks come and go within steps, so explanations that would corrupt each other cannot."""
    picture = (PICTURE * 255).astype(np.uint8)

    def start(client: convscope.Client, name: str, params: dict[str, Any]) -> convscope.Run:
        return client.visualize(name, image=picture, model="efficientnet_lite0", size=64, seed=3, **params)

    with convscope.embedded() as client:
        alone = [start(client, *run).result() for run in RUNS]
        beside = [run.result() for run in [start(client, *run) for run in RUNS]]
    for (name, _), one, other in zip(RUNS, alone, beside, strict=True):
        assert one.tensors.keys() == other.tensors.keys()
        for key in one.tensors:
            assert np.array_equal(one.tensors[key], other.tensors[key]), (name, key)
