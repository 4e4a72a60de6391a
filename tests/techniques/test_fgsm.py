from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.errors import InvalidParams
from convscope_sdk.events import Image, ImageGrid, Predictions, Progress, Table
from convscope_techniques.synthesis.eight_bits import reread
from convscope_techniques.synthesis.fgsm import fgsm
from support.collected import Collected
from support.fickle import fickle

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
WINNER = int(fickle().logits(PIXELS).argmax())
RUNNER_UP = int(fickle().logits(PIXELS)[0].topk(2).indices[1])


def attacked(**params: Any) -> Collected:
    return Collected(fgsm.run(fickle(), PICTURE, fit="resize", **params))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_success_is_what_the_network_says_to_the_saved_picture(norm: str) -> None:
    sweep = [0.001, 0.01, 0.05, 0.2, 0.5] if norm == "linf" else [0.01, 0.1, 1, 4, 16]
    seen = attacked(norm=norm, sweep=sweep)
    picture = torch.as_tensor(seen.one(Image, "adversarial").image)
    assert torch.equal(reread(picture), picture)
    winner = int(fickle().logits(picture).argmax())
    assert seen.scores["success"] == float(winner != WINNER)
    assert seen.all(Predictions)[0].items[0][0] == winner
    assert seen.scores[norm] <= seen.scores["epsilon"] * (1 + 1e-4)


def test_a_sweep_stops_at_the_smallest_bound_that_works() -> None:
    sweep = [0.5, 0.001, 0.1, 0.2, 0.05, 0.02]
    seen = attacked(sweep=sweep, target=RUNNER_UP)
    rows = seen.one(Table, "sweep").rows
    assert [row["epsilon"] for row in rows] == sorted(sweep)[: len(rows)]
    assert [row["fooled"] for row in rows] == [False] * (len(rows) - 1) + [True]
    assert seen.scores["smallest_epsilon"] == rows[-1]["epsilon"]
    assert all(0 < p.step <= p.total == len(sweep) for p in seen.all(Progress))


def test_a_picture_mistaken_before_is_said_to_be_so_and_is_no_success() -> None:
    seen = attacked(label=RUNNER_UP, epsilon=0.3, sweep=[0.1, 0.2])
    assert (seen.scores["success"], seen.scores["correct_before"]) == (0, 0)
    assert "smallest_epsilon" not in seen.scores
    assert any("wrong already" in note for note in seen.notes)
    assert len(seen.all(Progress)) == 1


def test_a_target_that_is_on_top_already_is_said_to_be_so() -> None:
    seen = attacked(label=RUNNER_UP, target=WINNER)
    assert seen.scores["success"] == 0
    assert any("already" in note for note in seen.notes)


def test_a_change_below_one_step_of_8_bits_is_no_success_and_says_why() -> None:
    seen = attacked(epsilon=0.9 / 255)
    assert seen.scores["linf"] == 0
    assert seen.scores["success"] == 0
    assert any("nothing is left" in note for note in seen.notes)
    assert seen.tensor("adversarial").sub(PIXELS[0]).abs().max() > 0.5 / 255


def test_the_difference_is_drawn_on_grey_as_often_enlarged_as_asked() -> None:
    seen = attacked(magnify=20.0, epsilon=4 / 255)
    drawn = torch.as_tensor(seen.one(Image, "difference").image)
    assert torch.allclose(drawn, (0.5 + 20 * seen.tensor("difference")).clamp(0, 1)[None], atol=1e-6)
    assert len(seen.one(ImageGrid, "comparison").labels) == 3


def test_probabilities_are_given_before_and_after() -> None:
    seen = attacked(target=RUNNER_UP, epsilon=0.1)
    by_class = {row["class"]: row for row in seen.one(Table, "probabilities").rows}
    before = fickle().logits(PIXELS)[0].softmax(0)
    assert by_class[WINNER]["before"] == pytest.approx(float(before[WINNER]), rel=1e-4)
    assert by_class[RUNNER_UP]["after"] > by_class[RUNNER_UP]["before"]
    assert seen.scores["target_probability_after"] == pytest.approx(by_class[RUNNER_UP]["after"])


@pytest.mark.parametrize("params", [{"target": "conv:1"}, {"target": "3-1"}, {"label": "relu"}, {"target": WINNER}])
def test_what_is_no_other_class_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams) as refusal:
        attacked(**params)
    assert refusal.value.violations[0].field in {"params.target", "params.label"}


def test_bounds_below_zero_are_refused() -> None:
    with pytest.raises(InvalidParams, match="above 0"):
        attacked(sweep=[0.1, -0.1])
