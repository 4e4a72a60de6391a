"""VGG-16's chain of layers, a few channels wide."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["NarrowVGG16"]

_BLOCKS = ((4, 2), (6, 2), (8, 3), (8, 3), (8, 3))


class NarrowVGG16(nn.Module):
    """A classifier with torchvision's names of VGG-16: `features.3` is relu1_2."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for channels, count in _BLOCKS:
            for _ in range(count):
                layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU(inplace=True)]
                width = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.features(x).mean((2, 3)), 1))
        return logits
