"""How far a picture made from a code is from the picture whose code it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from convscope_sdk.network import Network

__all__ = ["InversionLoss", "fitted"]


@dataclass(frozen=True, slots=True)
class InversionLoss:
    """Squared errors of pixels and of features, as parts of their variance: 1 is what their mean would give.

    The image and feature spaces of Dosovitskiy & Brox 2016, "Generating Images with Perceptual Similarity Metrics
    based on Deep Networks", arXiv:1602.02644, without the third, their discriminator.

    Attributes:
        network: The comparator.
        variances: Of each layer compared, by name.
        pixel_variance: Of the pixels.
        image_weight, feature_weight: Of the two terms.
    """

    network: Network
    variances: Mapping[str, float]
    pixel_variance: float
    image_weight: float = 1.0
    feature_weight: float = 0.5

    def __call__(self, made: Tensor, pixels: Tensor, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weighted terms "image" and "features".

        Args:
            made: (B, 3, h, w) pictures made, differentiable.
            pixels: (B, 3, H, W) the pictures; they are brought to the size of those made for the pixels' error.
            features: Theirs, by layer.
        """
        terms = {}
        if self.image_weight:
            error = functional.mse_loss(made, fitted(pixels, made.shape[-1]))
            terms["image"] = self.image_weight * error / self.pixel_variance
        if self.feature_weight:
            found = self.network.activations(fitted(made, pixels.shape[-1]), *self.variances)
            errors = [functional.mse_loss(found[name], features[name]) / v for name, v in self.variances.items()]
            terms["features"] = self.feature_weight * torch.stack(errors).mean()
        return terms


def fitted(pixels: Tensor, size: int) -> Tensor:
    """Square pictures at another size, bilinear; as they are where it is their own."""
    if pixels.shape[-1] == size:
        return pixels
    return functional.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
