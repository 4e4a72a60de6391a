"""What referees are given: the same pixels and the same network as our techniques."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from convscope_sdk.images import ImageLike, fit_image, open_image, to_tensor
from convscope_sdk.network import Network

__all__ = ["OnPixels", "pixels_of", "scaled"]


class OnPixels(nn.Module):
    """A network as a module that takes pixels in [0, 1]; its own module is `module`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.module = network.module

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network.logits(pixels)


def pixels_of(network: Network, image: ImageLike, *, fit: Any = "crop", size: int | None = None) -> torch.Tensor:
    """The picture as a run sees it, (1, 3, H, W)."""
    return to_tensor(fit_image(open_image(image).picture, network.spec, fit=fit, size=size), network.device)


def scaled(values: torch.Tensor) -> torch.Tensor:
    """Brought to [0, 1] by minimum and maximum."""
    return (values - values.min()) / (values.max() - values.min())
