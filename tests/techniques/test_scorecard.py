"""What scores=full says, for every attribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope_sdk.events import Image, Progress, Table
from convscope_sdk.network import Network
from convscope_sdk.technique import Technique
from convscope_techniques import convscope_techniques
from convscope_techniques.attribution.params import ScoredParams
from support.collected import Collected
from support.zoo import lens, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
MASK = np.zeros((32, 32), dtype=np.uint8)
MASK[8:20, 8:20] = 255
QUICK: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 4},
    "integrated_gradients": {"steps": 4, "tolerance": 1},
    "rise": {"samples": 8},
    "occlusion": {"window": 16, "stride": 8},
    "score_cam": {"k": 4},
}
ATTRIBUTIONS = {each.id: each for each in convscope_techniques() if issubclass(each.params, ScoredParams)}
FAITHFUL = {"deletion_auc", "insertion_auc", "average_drop", "confidence_increase"}
RANDOM = {"mprt_spearman", "mprt_ssim", "mprt_spearman_end"}
LOCAL = {"pointing_game", "mask_iou", "mask_fraction"}


def _scored(identifier: str, network: Network | None = None, *, mask: bool = False, **params: Any) -> Collected:
    extras = {"mask": MASK} if mask else {}
    technique: Technique[Any] = ATTRIBUTIONS[identifier]
    params = {"fit": "resize", **QUICK.get(identifier, {}), **params}
    return Collected(technique.run(network or tiny(), PICTURE, seed=1, extra_images=extras, **params))


def test_every_attribution_has_a_scorecard() -> None:
    assert set(ATTRIBUTIONS) == {
        "saliency", "smoothgrad", "integrated_gradients", "deconvnet", "guided_backprop", "occlusion", "rise",
        "grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "score_cam", "eigen_cam", "guided_grad_cam",
    }  # fmt: skip


@pytest.mark.parametrize("identifier", ATTRIBUTIONS)
def test_it_measures_the_map_and_leaves_the_results_as_they_are(identifier: str) -> None:
    weights = [parameter.clone() for parameter in tiny().module.parameters()]
    basic, full = _scored(identifier), _scored(identifier, scores="full", mask=True)
    assert full.scores.keys() - basic.scores.keys() == FAITHFUL | RANDOM | LOCAL
    assert {"map_min", "map_max", "map_positive", "map_half_area"} <= basic.scores.keys()
    assert all(np.isfinite(value) for value in full.scores.values())
    for ours, theirs in zip(basic.arrays(), full.arrays()[: len(basic.arrays())], strict=True):
        assert np.array_equal(ours, theirs)
    assert all(torch.equal(a, b) for a, b in zip(weights, tiny().module.parameters(), strict=True))


@pytest.mark.parametrize("identifier", ["saliency", "smoothgrad", "rise"])
def test_its_steps_count_on_from_the_techniques_own(identifier: str) -> None:
    progress = _scored(identifier, scores="full").all(Progress)
    assert len({step.total for step in progress}) == 1
    steps = [step.step for step in progress]
    assert steps == sorted(steps)
    assert steps[-1] == progress[-1].total


def test_the_tables_tell_how_confidence_and_likeness_go() -> None:
    seen = _scored("saliency", scores="full", target=3)
    curves = seen.one(Table, "faithfulness").rows
    assert seen.one(Image, "faithfulness").image.shape == (3, 264, 384)
    assert (curves[0]["fraction"], curves[-1]["fraction"]) == (0, 1)
    assert curves[0]["deletion"] == pytest.approx(seen.scores["target_probability"])
    assert curves[-1]["insertion"] == pytest.approx(seen.scores["target_probability"])
    stages = seen.one(Table, "randomisation").rows
    assert [row["down_to"] for row in stages] == ["fc", "conv3", "conv2", "conv1"]
    assert seen.scores["mprt_spearman_end"] == stages[-1]["spearman"]
    assert seen.scores["mprt_spearman"] == pytest.approx(sum(float(row["spearman"]) for row in stages) / 4)


def test_the_same_noise_is_used_for_the_forgetful_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights that do not change, the check finds every map as it was."""
    monkeypatch.setattr("convscope_techniques.attribution.randomisation._forget", lambda _layer: None)
    for identifier in ("smoothgrad", "rise", "grad_cam"):
        seen = _scored(identifier, scores="full")
        assert seen.scores["mprt_spearman"] == pytest.approx(1)
        assert any("hardly depends on what the network has learned" in note for note in seen.notes)


def test_a_unit_inside_the_network_is_measured_in_parts_of_its_value() -> None:
    seen = _scored("saliency", scores="full", target="conv2:3")
    assert seen.one(Table, "faithfulness").rows[0]["deletion"] == pytest.approx(np.sign(seen.scores["target_score"]))
    assert any("has no probability" in note for note in seen.notes)


def test_a_unit_that_is_zero_has_no_curves() -> None:
    with torch.no_grad():
        zero = next(
            channel
            for channel in range(8)
            if float(tiny().score(torch.zeros(1, 3, 32, 32), f"relu2:{channel}@5,5")) == 0
        )
    black = np.zeros((32, 32, 3), dtype=np.uint8)
    seen = Collected(ATTRIBUTIONS["occlusion"].run(tiny(), black, window=16, target=f"relu2:{zero}@5,5", scores="full"))
    assert "deletion_auc" not in seen.scores
    assert "mprt_spearman" in seen.scores
    assert any("not defined" in note for note in seen.notes)


def test_a_network_without_weights_has_nothing_to_forget() -> None:
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    seen = Collected(ATTRIBUTIONS["saliency"].run(lens(Mean(), size=32), PICTURE, scores="full"))
    assert "insertion_auc" in seen.scores
    assert not RANDOM & seen.scores.keys()
    assert any("has no weights" in note for note in seen.notes)


def test_without_reduction_the_strongest_channel_is_measured() -> None:
    none, largest = (_scored("saliency", scores="full", reduce=reduce) for reduce in ("none", "max"))
    assert none.scores["insertion_auc"] == largest.scores["insertion_auc"]
    assert none.scores["map_max"] == largest.scores["map_max"]


@pytest.mark.parametrize(("target", "won"), [("top1", 1.0), ("top2", 0.0)])
def test_the_report_says_whether_the_target_won(target: str, won: float) -> None:
    assert _scored("saliency", target=target).scores["target_won"] == won


def test_of_a_contrast_the_first_wins_where_the_difference_is_above_zero() -> None:
    best = int(tiny().logits(torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255).argmax())
    other = (best + 1) % 7
    assert _scored("saliency", target=f"{best}-{other}").scores["target_won"] == 1
    assert _scored("saliency", target=f"{other}-{best}").scores["target_won"] == 0
