"""A score's gradient with respect to pixels by another rule at ReLUs, and whether that means anything here."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope_sdk import events
from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Event, Heatmap, Image, Note, Scores
from convscope_sdk.network import Network
from convscope_sdk.rules import GradientRule, Rule
from convscope_sdk.target import Target
from convscope_techniques.attribution.explained import Explained
from convscope_techniques.attribution.unpooling import ZeilerUnpooling

__all__ = ["RuledGradient", "gradient_picture", "ruled_gradient"]

_RECTIFIERS = frozenset({"ReLU", "ReLU6", "relu", "relu_", "relu6"})
_MAX_POOLINGS = frozenset({"MaxPool2d", "AdaptiveMaxPool2d", "max_pool2d", "adaptive_max_pool2d"})
_INSIDE = 0.995  # of the magnitudes lie within the range that is drawn


@dataclass(frozen=True, slots=True)
class RuledGradient:
    """What a backward pass by a rule found.

    Attributes:
        explained: The score.
        gradient: (1, 3, H, W), with respect to pixels in [0, 1].
        calls: ReLU calls that followed the rule, and how many there are on the way to the target.
        pools: Max poolings on the way, whose switches tell where in the picture something was.
        others: Non-linearities on the way that kept their own derivative.
    """

    explained: Explained
    gradient: Tensor
    calls: tuple[int, int]
    pools: int
    others: tuple[str, ...]

    def applicability(self) -> Iterator[Event]:
        """How far the rule reached, for the report."""
        done, total = self.calls
        yield Note(f"{done} of {total} ReLU calls intercepted")
        yield Scores({"relu_calls": float(total), "relu_calls_intercepted": float(done)})
        if self.others:
            names = ", ".join(self.others)
            yield Note(f"{names} kept their own derivative: the rule says nothing about them, so it holds only in part")
        if not total:
            yield Note(f"no non-linearity comes before {self.explained.target}: this is its plain gradient")

    def results(self, name: str, gradient: Tensor | None = None) -> Generator[Event, None, Tensor]:
        """The gradient as a picture around grey, its strength over the input, and the numbers; gives the strength.

        Args:
            name: Of the picture.
            gradient: (1, 3, H, W) to show in place of its own.
        """
        shown = self.gradient if gradient is None else gradient
        picture, limit = gradient_picture(shown[0])
        caption = f"what in the picture drives {self.explained.target}"
        yield Image(name, picture, caption=f"{caption}; grey is 0, black and white are -{limit:.2g} and {limit:.2g}")
        strength = shown[0].abs().amax(0)
        yield Heatmap("strength", strength, caption=f"{caption}: largest magnitude over the colours")
        yield events.Tensor("gradient", shown[0], caption=f"{caption}, as numbers")
        return strength


def ruled_gradient(
    network: Network, image: Tensor, target: Target, rule: Rule, unpooling: ZeilerUnpooling | None = None
) -> RuledGradient:
    """The gradient of the target's score at `image`, (1, 3, H, W), by `rule`.

    Raises:
        NotApplicable: nothing on the way to the target is a ReLU, but something is another non-linearity.
    """
    pixels = image.detach().requires_grad_()
    logits = None
    if not target.is_class:
        with torch.no_grad():
            logits = network.logits(image)
        target = network.resolve(target, image)
    with torch.enable_grad():
        with network.gradient_rule(rule) as followed, unpooling or nullcontext():
            logits = network.logits(pixels) if logits is None else logits
            target = network.resolve(target, logits=logits)
            score = network.target_value(target, logits=logits) if target.is_class else network.score(pixels, target)
        _check(network, target, followed)
        (gradient,) = torch.autograd.grad(score.sum(), pixels)
    total = max(_calls(network, target, _RECTIFIERS), followed.intercepted)
    return RuledGradient(
        explained=Explained(target, score.detach(), logits.detach()),
        gradient=gradient,
        calls=(followed.intercepted, total),
        pools=_calls(network, target, _MAX_POOLINGS),
        others=tuple(sorted(followed.others)),
    )


def gradient_picture(gradient: Tensor) -> tuple[Tensor, float]:
    """(3, H, W) in [0, 1], 0.5 where the gradient is 0, and the magnitude that black and white stand for."""
    magnitude = gradient.abs().flatten()
    limit = magnitude.kthvalue(max(int(_INSIDE * magnitude.numel()), 1)).values
    limit = limit if float(limit) > 0 else magnitude.max()
    scale = float(limit) or 1.0
    return (gradient / (2 * scale) + 0.5).clamp(0, 1), float(limit)


def _check(network: Network, target: Target, followed: GradientRule) -> None:
    if followed.intercepted or not (target.is_class or followed.others):
        return
    found = ", ".join(sorted(followed.others)) or "none at all"
    raise NotApplicable(
        f"{network.name} has no ReLU on the way to {target} (its non-linearities: {found}): the {followed.rule} rule "
        f"is about ReLUs, so this would be the plain gradient; take saliency, smoothgrad, integrated_gradients, "
        f"occlusion or rise"
    )


def _calls(network: Network, target: Target, kinds: frozenset[str]) -> int:
    """How many of the network's layers, up to the target's, are of one of those kinds; counted without the rule."""
    count = 0
    for layer in network.layers:
        count += layer.kind in kinds
        if layer.name == target.layer:
            break
    return count
