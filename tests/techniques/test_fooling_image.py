from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.events import Image, Progress
from convscope_sdk.inprocess import start
from convscope_sdk.network import Network
from convscope_techniques.synthesis.fooling_image import FoolingImageParams, fooling_image
from support.collected import Collected
from support.fickle import fickle
from support.put_down import put_down
from support.zoo import efficientnet

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
ORDER = fickle().logits(PIXELS)[0].argsort(descending=True).tolist()


def fooled(network: Network | None = None, picture: Any = PICTURE, **params: Any) -> Collected:
    return Collected(fooling_image.run(network or fickle(), picture, fit="resize", **params))


def test_the_defaults_are_those_of_the_assignment() -> None:
    assert (FoolingImageParams().steps, FoolingImageParams().step_size) == (100, 1.0)


def test_a_step_has_its_length_in_what_the_network_sees_and_goes_up_the_targets_logit() -> None:
    seen = fooled(target=ORDER[-1], steps=1, step_size=0.05, halvings=0)
    leaf = fickle().normalize(PIXELS).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(fickle().module(leaf)[0, ORDER[-1]], leaf)
    moved = fickle().normalize(seen.tensor("adversarial")[None]) - leaf.detach()
    assert float((moved - 0.05 * gradient / gradient.norm()).norm()) < 0.02  # clipped where the picture ends
    assert float(moved.norm()) == pytest.approx(0.05, rel=0.2)


@pytest.mark.parametrize("rank", range(1, 5))
def test_the_saved_picture_is_taken_for_the_target(rank: int) -> None:
    seen = fooled(target=ORDER[rank], steps=400)
    picture = torch.as_tensor(seen.one(Image, "adversarial").image)
    assert seen.scores["success"] == 1
    assert int(fickle().logits(picture).argmax()) == ORDER[rank]
    assert torch.allclose(picture * 255, (picture * 255).round(), atol=1e-4)


def test_going_halfway_back_finds_a_smaller_change() -> None:
    coarse, fine = (fooled(target=ORDER[1], step_size=4.0, halvings=halvings) for halvings in (0, 6))
    assert coarse.scores["success"] == fine.scores["success"] == 1
    assert fine.scores["l2"] < coarse.scores["l2"]


def test_too_few_steps_are_no_success_and_it_is_said() -> None:
    seen = fooled(target=ORDER[-1], steps=1, step_size=1e-3)
    assert seen.scores["success"] == 0
    assert any("not fooled" in note or "nothing is left" in note for note in seen.notes)


def test_a_picture_that_is_taken_for_the_target_already_is_left_alone() -> None:
    seen = fooled(label=ORDER[1], target=ORDER[0])
    assert seen.scores["success"] == seen.scores["l2"] == 0
    assert not seen.all(Progress)


@pytest.mark.parametrize("params", [{}, {"step_size": 0.2, "steps": 60, "preview_every": 3}], ids=["quick", "slow"])
def test_it_goes_on_where_it_was_put_down(params: dict[str, Any]) -> None:
    check_goes_on_where_it_was_put_down(Subject(fooling_image, params={"steps": 40, **params}))


def test_it_goes_on_on_the_way_back_too() -> None:
    whole = Collected(fooling_image.run(fickle(), PICTURE))
    climbed = int(whole.scores["steps"])
    assert whole.scores["success"] == 1
    for state in (climbed, climbed + 1, climbed + 6):
        before, saved = put_down(fooling_image, fickle(), PICTURE, state=state)
        after = Collected(start(fooling_image, fickle(), PICTURE, saved=saved, params={"steps": 200}))
        assert torch.equal(after.tensor("adversarial"), whole.tensor("adversarial"))
        assert [p.step for seen in (before, after) for p in seen.all(Progress)] == [p.step for p in whole.all(Progress)]


def test_it_may_be_given_more_steps_or_fewer() -> None:
    _, saved = put_down(fooling_image, fickle(), PICTURE, state=3, params={"step_size": 0.01, "steps": 10})
    for steps in (2, 6, 20):
        params = {"step_size": 0.01, "steps": steps, "preview_every": 2}
        after = Collected(start(fooling_image, fickle(), PICTURE, saved=saved, params=params))
        assert after.scores["steps"] == max(steps, 3)
        assert after.scores["success"] == 0


@pytest.mark.slow
def test_a_cup_of_coffee_is_taken_for_a_stingray() -> None:
    seen = fooled(efficientnet(), skimage.data.coffee(), target="class:stingray", size=128)
    assert seen.scores["success"] == 1
    assert seen.scores["l2"] < 2
