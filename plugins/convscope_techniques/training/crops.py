"""Random pieces of the pictures of an image set, to train on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convscope_sdk.image_sets.image_set import ImageSet
from convscope_techniques.training.decoded import DecodedPictures

__all__ = ["Crops"]

_REDUCED = 4  # shorter edge of what is kept, in pixels of it for one of the smallest crop
_PATIENCE = 100  # pictures in a row that cannot be read


class Crops:
    """Square crops of pictures, brought to one size, mirrored and recoloured at random.

    Pictures that cannot be read are passed over.

    Args:
        image_set: Where the pictures come from.
        numbers: Which of them.
        size: Edge of a crop once it is resized, pixels.
        smallest: The least edge of a crop before, as part of the picture's shorter edge.
        enlarged: How many times a crop is enlarged at most, where the picture is large enough.
        reduced: How many times it is reduced at most.
        colour: Standard deviation of the logarithms of a crop's gamma and, half as large, of its channels' gains.
    """

    def __init__(
        self,
        image_set: ImageSet,
        numbers: Sequence[int],
        size: int,
        *,
        smallest: float = 0.0,
        enlarged: float = 1.0,
        reduced: float = math.inf,
        colour: float = 0.0,
    ) -> None:
        self.numbers = numbers
        self._size, self._colour = size, colour
        self._smallest, self._enlarged, self._reduced = smallest, enlarged, reduced
        self._decoded = DecodedPictures(image_set, math.ceil(_REDUCED * size / (smallest or 1)))

    def batch(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 3, size, size) in [0, 1], on the CPU.

        Raises:
            InvalidImageSet: no picture can be read.
        """
        return torch.stack([self._crop(self._any(rng), rng) for _ in range(count)])

    def first(self) -> Image.Image:
        """The first picture that can be read, reduced where it is large.

        Raises:
            InvalidImageSet: none can be read.
        """
        for number in self.numbers:
            if (picture := self._decoded.picture(number)) is not None:
                return picture
        raise self._decoded.none_readable()

    def _any(self, rng: np.random.Generator) -> Image.Image:
        for _ in range(_PATIENCE):
            picture = self._decoded.picture(self.numbers[int(rng.integers(len(self.numbers)))])
            if picture is not None:
                return picture
        raise self._decoded.none_readable()

    def _crop(self, picture: Image.Image, rng: np.random.Generator) -> Tensor:
        shorter = min(picture.size)
        most = min(shorter, self._reduced * self._size)
        least = min(most, max(self._smallest * shorter, self._size / self._enlarged))
        edge = min(most, math.exp(rng.uniform(math.log(least), math.log(most))))  # never beyond by rounding
        left, top = (rng.uniform(0, length - edge) for length in picture.size)
        box = (left, top, left + edge, top + edge)
        piece = picture.resize((self._size, self._size), Image.Resampling.BICUBIC, box=box)
        pixels = np.asarray(piece, np.float32) / np.float32(255)
        if rng.random() < 0.5:  # noqa: PLR2004 - a coin
            pixels = pixels[:, ::-1]
        if self._colour:
            gamma = math.exp(rng.normal(0, self._colour))
            gains = np.exp(rng.normal(0, self._colour / 2, 3)).astype(np.float32)
            pixels = (pixels**gamma * gains).clip(0, 1)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
