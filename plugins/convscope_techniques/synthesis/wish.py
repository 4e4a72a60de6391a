"""What a picture is to answer to: targets, their sums, one for each picture, or a direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.network import Network
from convscope_sdk.target import Target

__all__ = ["Direction", "along", "dissimilarity", "scores_of"]

_LEAST_COSINE = 0.1
_TINY = 1e-6
_FEATURES_NDIM = 2


def scores_of(network: Network, pixels: Tensor, targets: Sequence[Target]) -> Tensor:
    """(T, B) what each resolved target measures for each picture, in one forward pass."""
    layers = dict.fromkeys(target.layer for target in targets if target.layer is not None)
    if any(target.is_class for target in targets):
        outputs, logits = network.activations_and_logits(pixels, *layers)
        return torch.stack([network.target_value(t, logits=logits, activations=outputs) for t in targets])
    outputs = network.activations(pixels, *layers)
    return torch.stack([network.target_value(t, activations=outputs) for t in targets])


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction in the channels of a layer.

    Attributes:
        layer: Its name.
        vector: (C,).
        cosine_power: How much more the angle counts than the length.
    """

    layer: str
    vector: Tensor
    cosine_power: float = 0.0

    def score(self, network: Network, pixels: Tensor) -> Tensor:
        """(B,) the mean over positions of a·v, times max(0.1, cos(a, v))^power (lucid)."""
        features = network.activations(pixels, self.layer)[self.layer]
        if features.ndim == 3:  # noqa: PLR2004 - tokens, (B, N, C)
            features = features.mT
        return along(_with_places(features), self)


def along(features: Tensor, direction: Direction) -> Tensor:
    """(B,) of features (B, C, …); see `Direction.score`.

    Raises:
        InvalidParams: the direction has another number of channels.
    """
    flat, vector = features.flatten(2), direction.vector
    if len(vector) != flat.shape[1]:
        text = f"{direction.layer!r} has {flat.shape[1]} channels; give a number for each, not {len(vector)}"
        raise InvalidParams(text, violations=[FieldViolation("params.direction", text)])
    dot = torch.einsum("bcn,c->bn", flat, vector)
    if direction.cosine_power:
        cosine = dot / (flat.norm(dim=1) + _TINY) / (vector.norm() + _TINY)
        dot = dot * cosine.clamp(min=_LEAST_COSINE) ** direction.cosine_power
    return dot.mean(1)


def dissimilarity(features: Tensor) -> Tensor:
    """How unlike pictures are: minus the sum of cosines between their Gram matrices, by picture (lucid's diversity)."""
    flat = _with_places(features).flatten(2)
    grams = torch.nn.functional.normalize((flat @ flat.mT).flatten(1), dim=1)
    return -((grams @ grams.mT).sum() - len(grams)) / len(grams)


def _with_places(features: Tensor) -> Tensor:
    """Features (B, C, …); vectors (B, C) are those of one place."""
    return features if features.ndim > _FEATURES_NDIM else features[..., None]
