"""What is said about every picture that was made for a target: the picture, its numbers, and whether it won."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from convscope_sdk.events import Event, Note, Predictions, Scores
from convscope_sdk.network import Network
from convscope_sdk.target import Target
from convscope_techniques.synthesis.descent import Outcome
from convscope_techniques.synthesis.penalty import absolute_variation

__all__ = ["made_events", "picture_scores", "term_scores"]

_TOKENS_NDIM = 3


def made_events(
    network: Network, pixels: Tensor, target: Target | None = None, start: Tensor | None = None
) -> Iterator[Event]:
    """Predictions of a picture (1, 3, H, W) in [0, 1]; what its target is before and after, and whether it won.

    A class wins where it is on top; a channel where its mean is the largest of its layer's, a neuron where its value
    is the largest of its place; a contrast where it is above zero; a layer where it answers more than before. Networks
    that are no classifiers have nothing to say about classes.

    Args:
        network: Who looks.
        pixels: The picture that was made.
        target: What it was made for, resolved; None where that is no single target.
        start: The picture that it began with, for the values before.
    """
    logits = _logits(network, pixels)
    if logits is not None:
        yield Predictions(network.predictions(logits))
    if target is None:
        return
    if target.kind == "class" and target.index is not None:
        before = None if start is None else _logits(network, start)
        if logits is not None:
            yield from _of_class(network, target, target.index, before, logits)
    else:
        yield from _of_unit(network, target, start, pixels)


def picture_scores(pixels: Tensor, start: Tensor) -> Scores:
    """How far pixels (1, 3, H, W) are from where they began, and their mean absolute difference of neighbours."""
    change = (pixels - start).flatten()
    variation = float(absolute_variation(pixels)) / (2 * pixels.numel())
    return Scores(
        {"l2": float(change.norm()), "linf": float(change.abs().max()), "total_variation": variation},
    )


def term_scores(outcome: Outcome) -> Scores:
    """Each term of an objective where it began and where it ended: what was made small, so with weights and signs."""
    named = {"before": outcome.before, "after": outcome.after}
    return Scores({f"objective_{term}_{when}": value for when, terms in named.items() for term, value in terms.items()})


def _of_class(network: Network, target: Target, index: int, before: Tensor | None, after: Tensor) -> Iterator[Event]:
    winner, probability = int(after[0].argmax()), float(after[0].softmax(0)[index])
    scores = {
        "target_probability": probability,
        "target_won": float(winner == index),
        "target_after": float(after[0, index]),
    }
    if before is not None:
        scores["target_before"] = float(before[0, index])
        scores["target_probability_before"] = float(before[0].softmax(0)[index])
    yield Scores(scores)
    label, chance = network.label(index), f"{100 * probability:.3g} %"
    if winner == index:
        yield Note(f"{target} ({label}) won, with {chance}")
    else:
        yield Note(f"{target} ({label}) did not win: it has {chance}, and {network.label(winner)} is on top")


def _of_unit(network: Network, target: Target, start: Tensor | None, pixels: Tensor) -> Iterator[Event]:
    with torch.no_grad():
        after = float(network.score(pixels, target))
        before = None if start is None else float(network.score(start, target))
        rival = _rival(network, target, pixels)
    won = (
        after > 0
        if target.kind == "contrast"
        else after > (before or 0.0)
        if rival is None
        else rival == target.channel
    )
    scores = {"target_after": after, "target_won": float(won)}
    yield Scores(scores if before is None else {**scores, "target_before": before})
    if rival is not None and not won:
        yield Note(f"{target} did not win: channel {rival} of the layer answers more")


def _rival(network: Network, target: Target, pixels: Tensor) -> int | None:
    """The channel of a unit's layer that answers most, where the unit looks; None where the target is no unit."""
    if target.channel is None or target.layer is None:
        return None
    output = network.activations(pixels, target.layer)[target.layer]
    maps = output.mT if output.ndim == _TOKENS_NDIM else output
    if target.position is not None:
        return int(maps[0, :, target.position[0], target.position[1]].argmax())
    return int(maps[0].flatten(1).mean(1).argmax()) if maps.ndim >= _TOKENS_NDIM else int(maps[0].argmax())


def _logits(network: Network, pixels: Tensor) -> Tensor | None:
    if network.spec.kind != "classifier":
        return None
    with torch.no_grad():
        return network.logits(pixels)
