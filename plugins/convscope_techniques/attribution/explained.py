"""What an attribution explains: one score of one picture, and what the network makes of that picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope_sdk.events import Event, Note, Predictions, Scores
from convscope_sdk.network import Network
from convscope_sdk.target import Target, TargetField, target_field

__all__ = ["DEFAULT_TARGET", "TARGET_HELP", "Explained", "TargetField", "explain", "scored_each"]

DEFAULT_TARGET = target_field("top1")
TARGET_HELP = "What is explained: `top1`, a class, a contrast `285-281`, or a unit `blocks.4:17`."


@dataclass(frozen=True, slots=True)
class Explained:
    """A score with its picture's logits.

    Attributes:
        target: The target with nothing left open.
        score: (B,) what it measures, unnormalised; attached to the graph where the pixels are.
        logits: (B, classes).
    """

    target: Target
    score: Tensor
    logits: Tensor

    def events(self, network: Network) -> Iterator[Event]:
        """The predictions, and the target by name and value, for the report."""
        logits = self.logits.detach()
        yield Predictions(network.predictions(logits[:1]))
        value = float(self.score.detach()[0])
        scores = {"target_score": value}
        if self.target.index is not None:
            scores["target_probability"] = float(logits[0].softmax(0)[self.target.index])
            won = value > 0 if self.target.minus else int(logits[0].argmax()) == self.target.index
            scores["target_won"] = float(won)
        yield Scores(scores)
        yield Note(f"explains {_named(network, self.target)}: score {value:.4g}")


def explain(network: Network, pixels: Tensor, target: Target) -> Explained:
    """The score of `target` on `pixels` and their logits; one forward pass, two for a unit inside the network."""
    if target.is_class:
        logits = network.logits(pixels)
        resolved = network.resolve(target, logits=logits)
        return Explained(resolved, network.target_value(resolved, logits=logits), logits)
    with torch.no_grad():
        logits = network.logits(pixels)
    resolved = network.resolve(target, pixels)
    return Explained(resolved, network.score(pixels, resolved), logits)


def scored_each(network: Network, pixels: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """(B,) scores and (B, classes) logits: each picture's score of its own target, such as its own first class."""
    if not target.is_class:
        with torch.no_grad():
            logits = network.logits(pixels)
        return network.score(pixels, network.resolve(target, pixels)), logits
    logits = network.logits(pixels)
    scores = [network.target_value(network.resolve(target, logits=row), logits=row) for row in torch.split(logits, 1)]
    return torch.cat(scores), logits


def _named(network: Network, target: Target) -> str:
    labels = [
        network.classes[part.index]
        for part in (target, target.minus)
        if part is not None and part.index is not None and part.index < len(network.classes)
    ]
    return f"{target} ({' minus '.join(labels)})" if labels else str(target)
