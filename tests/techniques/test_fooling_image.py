from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch

from convscope_sdk.events import Image, Progress
from convscope_sdk.network import Network
from convscope_techniques.synthesis.fooling_image import FoolingImageParams, fooling_image
from support.collected import Collected
from support.fickle import fickle
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


@pytest.mark.slow
def test_a_cup_of_coffee_is_taken_for_a_stingray() -> None:
    seen = fooled(efficientnet(), skimage.data.coffee(), target="class:stingray", size=128)
    assert seen.scores["success"] == 1
    assert seen.scores["l2"] < 2
