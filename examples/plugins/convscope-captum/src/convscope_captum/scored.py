"""A convscope target as captum sees it: a function of pixels, and what is reported of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convscope_sdk import Event, Heatmap, Network, Note, Predictions, Scores, Target, TargetField, target_field
from convscope_sdk import Tensor as TensorResult

__all__ = ["CLASS_TARGET", "TARGET", "TARGET_HELP", "Scored", "Scorer", "TargetField", "quiet", "shown"]

TARGET = target_field("top1")
TARGET_HELP = "What is explained: `top1`, a class, a contrast `285-281`, or a unit `blocks.4:17`."
CLASS_TARGET = "What is explained: `top1`, a class, or a contrast `285-281`."


@dataclass(frozen=True, slots=True)
class Scored:
    """A target with nothing left open, on one picture."""

    network: Network
    target: Target
    logits: Tensor

    @classmethod
    def of(cls, network: Network, pixels: Tensor, target: Target) -> Scored:
        """One forward pass, two for a unit inside the network."""
        with torch.no_grad():
            logits = network.logits(pixels)
            return cls(network, network.resolve(target, pixels, logits=logits), logits)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B,) its scores."""
        return self.network.score(pixels, self.target)

    def events(self) -> Iterator[Event]:
        """What goes into the report whatever the method."""
        yield Predictions(self.network.predictions(self.logits))
        yield Note(f"explains {self.target}")


class Scorer(nn.Module):
    """The same as a module, where a method walks through modules: pixels in, (B,) scores out.

    It holds the network's own module, or a copy of it where the method writes to it.
    """

    def __init__(self, scored: Scored, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._scored = (scored,)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B,) scores of the target, which is a class or a contrast."""
        (scored,) = self._scored
        logits = self.module(scored.network.normalize(pixels))
        return scored.network.target_value(scored.target, logits=logits)


@contextmanager
def quiet() -> Iterator[None]:
    """Captum warns of what it does to modules; here nothing else looks at them meanwhile."""
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        yield


def shown(name: str, attribution: Tensor, what: str, **scores: float) -> Iterator[Event]:
    """An attribution (1, 3, H, W) or (1, 1, H, W), summed over colours, and as it is."""
    values = attribution.detach()[0]
    yield Heatmap(name, values.sum(0), signed=True, caption=what)
    yield TensorResult("attribution", values, caption=f"{what}, by colour" if len(values) > 1 else what)
    # Of parts, whose pixels all have their part's value, a sum over pixels would mean nothing.
    total = {"attribution_sum": float(values.sum())} if len(values) > 1 else {}
    yield Scores({**total, **scores})
