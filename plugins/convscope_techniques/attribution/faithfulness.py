"""Whether the pixels that a map calls important are important to the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope_sdk.network import Network
from convscope_sdk.target import Target

__all__ = ["Curve", "confidence", "curve", "curve_passes", "kept"]

STEPS = 56
"""Parts that pixels are taken away in, 1.8 % each."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A confidence while pixels are exchanged.

    Attributes:
        fractions: (n,) of the pixels that have been exchanged, from 0 to 1.
        values: (n,) the confidence then.
    """

    fractions: Tensor
    values: Tensor

    @classmethod
    def over(cls, image: Tensor, values: Tensor) -> Curve:
        """The curve of a picture of that size, (1, 3, H, W), so far as its values are known."""
        counts = torch.tensor(_counts(image)[: len(values)], dtype=torch.float64, device=image.device)
        return cls((counts / image.shape[-2:].numel()).to(values.dtype), values)

    @property
    def area(self) -> float:
        """Under the curve, by the trapezoidal rule."""
        return float(torch.trapezoid(self.values, self.fractions))


def confidence(network: Network, pixels: Tensor, target: Target) -> Tensor:
    """(B,) a class's probability, of a contrast the difference of two, of a unit inside the network its value."""
    if not target.is_class:
        return network.score(pixels, target)
    return network.target_value(target, logits=network.logits(pixels).softmax(1))


def curve_passes(image: Tensor, batch: int) -> int:
    """How many steps `curve` takes on a picture of that size, with so many in one pass through the network."""
    return -(-len(_counts(image)) // batch)


def curve(
    network: Network,
    start: Tensor,
    end: Tensor,
    values: Tensor,
    target: Target,
    *,
    batch: int,
    known: Tensor | None = None,
) -> Iterator[Curve]:
    """The confidence as the pixels of `start` become those of `end`, (1, 3, H, W), highest value first.

    A curve after each batch, so far as it is known; the last is whole. Of equal values the first in reading order
    goes first.

    Args:
        network: Whose confidence.
        start: The picture at first.
        end: And in the end.
        values: (H, W) the map.
        target: Of the confidence.
        batch: Pictures in one pass through the network.
        known: (n,) the values of a curve that this one goes on from.
    """
    ranks = values.flatten().argsort(descending=True, stable=True).argsort().view_as(values)
    found = start.new_zeros(0) if known is None else known
    counts = torch.tensor(_counts(start)[len(found) :], device=start.device)
    for chunk in torch.split(counts, batch) if len(counts) else ():
        exchanged = ranks < chunk.view(-1, 1, 1, 1)
        with torch.no_grad():
            found = torch.cat([found, confidence(network, torch.where(exchanged, end, start), target)])
        yield Curve.over(start, found)


def kept(image: Tensor, hidden: Tensor, values: Tensor) -> Tensor:
    """(1, 3, H, W): the picture under the map as a mask, its positive part over its largest value; else `hidden`."""
    positive = values.clamp(min=0)
    mask = positive / positive.max().clamp(min=torch.finfo(positive.dtype).tiny)
    return torch.lerp(hidden.expand_as(image), image, mask.expand_as(image))


def _counts(image: Tensor) -> list[int]:
    pixels = image.shape[-2:].numel()
    return [*range(0, pixels, -(-pixels // STEPS)), pixels]
