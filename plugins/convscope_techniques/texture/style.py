"""The style of pictures: Gram matrices at some layers, and how far another picture is from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from convscope_techniques.texture.extractor import Extractor
from convscope_techniques.texture.gram import Convention, gram, style_factor

__all__ = ["Style"]


@dataclass(frozen=True, slots=True)
class Style:
    """Gram matrices to be matched.

    Attributes:
        wanted: (1, N, N) by layer.
        weights: What each layer's mean squared difference is multiplied with.
    """

    wanted: Mapping[str, Tensor]
    weights: Mapping[str, float]

    @classmethod
    def of(
        cls,
        extract: Extractor,
        pictures: Sequence[Tensor],
        shares: Sequence[float],
        weights: Mapping[str, float],
        convention: Convention = "mse",
    ) -> Style:
        """The style of pictures, (1, 3, h, w) each: the mean of their Gram matrices, weighted by shares that sum to 1.

        Args:
            extract: Gives features at least at the layers of `weights`.
            pictures: At least one.
            shares: One for each picture.
            weights: By layer, as the convention reads them.
            convention: See `gram`.
        """
        with torch.no_grad():
            found = [extract(picture) for picture in pictures]
            wanted = {
                layer: sum(
                    (share * gram(features[layer]) for share, features in zip(shares[1:], found[1:], strict=True)),
                    start=shares[0] * gram(found[0][layer]),
                )
                for layer in weights
            }
        factors = {layer: style_factor(convention, matrix) for layer, matrix in wanted.items()}
        return cls(wanted, {layer: weight * factors[layer] for layer, weight in weights.items()})

    def differences(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean squared difference of Gram matrices by layer."""
        grams = {layer: gram(features[layer]) for layer in self.wanted}
        return {layer: mse_loss(found, self.wanted[layer].expand_as(found)) for layer, found in grams.items()}

    def losses(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same, weighted."""
        return {layer: self.weights[layer] * value for layer, value in self.differences(features).items()}
