"""What is said about every picture that was made for a target: the picture, its numbers, and whether it won."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from convscope_sdk.events import Event, Note, Predictions, Scores
from convscope_sdk.network import Network
from convscope_sdk.target import Target
from convscope_techniques.synthesis.penalty import absolute_variation

__all__ = ["made_events", "picture_scores"]


def made_events(network: Network, pixels: Tensor, target: Target | None) -> Iterator[Event]:
    """Predictions of a picture (1, 3, H, W) in [0, 1]; for a class its probability, and whether it is on top.

    Networks that are no classifiers have nothing to say here.
    """
    if network.spec.kind != "classifier":
        return
    with torch.no_grad():
        logits = network.logits(pixels)
    yield Predictions(network.predictions(logits))
    if target is None or target.kind != "class" or target.index is None:
        return
    winner, probability = int(logits[0].argmax()), float(logits[0].softmax(0)[target.index])
    yield Scores({"target_probability": probability, "target_won": float(winner == target.index)})
    label, chance = network.label(target.index), f"{100 * probability:.3g} %"
    if winner == target.index:
        yield Note(f"{target} ({label}) won, with {chance}")
    else:
        yield Note(f"{target} ({label}) did not win: it has {chance}, and {network.label(winner)} is on top")


def picture_scores(pixels: Tensor, start: Tensor) -> Scores:
    """How far pixels (1, 3, H, W) are from where they began, and their mean absolute difference of neighbours."""
    change = (pixels - start).flatten()
    variation = float(absolute_variation(pixels)) / (2 * pixels.numel())
    return Scores(
        {"l2": float(change.norm()), "linf": float(change.abs().max()), "total_variation": variation},
    )
