"""What the papers' authors would look for, on a network that has learned to see and a photograph of an espresso."""

from __future__ import annotations

import skimage.data
import torch

from convscope_sdk.events import Predictions, Progress
from convscope_techniques.attribution.grad_cam import grad_cam
from convscope_techniques.attribution.occlusion import occlusion
from convscope_techniques.attribution.saliency import saliency
from convscope_techniques.synthesis.deepdream import deepdream
from support.collected import Collected
from support.zoo import efficientnet

COFFEE = skimage.data.coffee()
CUP = (slice(0, 130), slice(25, 195))  # rows and columns of the 224 px crop


def _peak(values: torch.Tensor) -> tuple[int, int]:
    row, column = divmod(int(values.argmax()), values.shape[1])
    return row, column


def _on_the_cup(position: tuple[int, int]) -> bool:
    return all(part.start <= at < part.stop for at, part in zip(position, CUP, strict=True))


def test_grad_cam_is_strongest_on_the_coffee() -> None:
    seen = Collected(grad_cam.run(efficientnet(), COFFEE))
    assert seen.all(Predictions)[0].items[0][1] == "espresso"
    assert _on_the_cup(_peak(seen.tensor("grad_cam")))
    cam = seen.tensor("grad_cam")
    assert cam[CUP].sum() > 0.7 * cam.sum()


def test_hiding_the_coffee_costs_most() -> None:
    seen = Collected(occlusion.run(efficientnet(), COFFEE, window=48, stride=32))
    assert _on_the_cup(_peak(seen.tensor("attribution")))
    row, column = _peak(-seen.tensor("probability_map"))
    assert _on_the_cup((row * 32 + 24, column * 32 + 24))


def test_pixels_of_the_coffee_matter_more_than_the_table() -> None:
    values = Collected(saliency.run(efficientnet(), COFFEE)).tensor("saliency")
    assert values[CUP].mean() > 1.5 * values[140:, :60].mean()


def test_within_an_octave_the_dream_gets_stronger() -> None:
    seen = Collected(deepdream.run(efficientnet(), COFFEE, size=160, octaves=2, steps=10))
    for octave in (1, 2):
        steps = [p.metrics["objective"] for p in seen.all(Progress) if p.metrics["octave"] == octave]
        assert sum(steps[5:]) > 1.05 * sum(steps[:5])
    assert seen.scores["objective_after"] > 1.3 * seen.scores["objective_before"]
