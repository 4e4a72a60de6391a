"""Random pieces of the pictures of an image set, to train on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convscope_sdk.image_sets.image_set import ImageSet

__all__ = ["Crops"]

_ENLARGED = 4 / 3  # at most, where the picture is large enough
_KEPT_BYTES = 256 << 20


@dataclass(slots=True)
class Crops:
    """Square crops of pictures, brought to one size, mirrored and recoloured at random.

    Decoded pictures are kept up to 256 MiB.

    Attributes:
        image_set: Where the pictures come from.
        numbers: Which of them.
        size: Edge of a crop once it is resized, pixels.
        smallest: The least edge of a crop before, as part of the picture's shorter edge.
        colour: Standard deviation of the logarithms of a crop's gamma and, half as large, of its channels' gains.
    """

    image_set: ImageSet
    numbers: Sequence[int]
    size: int
    smallest: float = 0.25
    colour: float = 0.0
    _kept: dict[int, Image.Image] = field(default_factory=dict, repr=False)
    _kept_bytes: int = 0

    def batch(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 3, size, size) in [0, 1], on the CPU.

        Raises:
            InvalidImage: a picture cannot be read.
        """
        return torch.stack([self._crop(rng) for _ in range(count)])

    def _crop(self, rng: np.random.Generator) -> Tensor:
        picture = self._picture(self.numbers[int(rng.integers(len(self.numbers)))])
        shorter = min(picture.size)
        least = min(shorter, max(self.smallest * shorter, self.size / _ENLARGED))
        edge = math.exp(rng.uniform(math.log(least), math.log(shorter)))
        left, top = (rng.uniform(0, length - edge) for length in picture.size)
        box = (left, top, left + edge, top + edge)
        piece = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        pixels = np.asarray(piece, np.float32) / np.float32(255)
        if rng.random() < 0.5:  # noqa: PLR2004 - a coin
            pixels = pixels[:, ::-1]
        if self.colour:
            gamma = math.exp(rng.normal(0, self.colour))
            gains = np.exp(rng.normal(0, self.colour / 2, 3)).astype(np.float32)
            pixels = (pixels**gamma * gains).clip(0, 1)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())

    def _picture(self, number: int) -> Image.Image:
        if number in self._kept:
            return self._kept[number]
        picture = self.image_set.picture(number)
        size = 3 * picture.width * picture.height
        if self._kept_bytes + size <= _KEPT_BYTES:
            self._kept[number] = picture
            self._kept_bytes += size
        return picture
