"""Contents to learn from: random crops of the pictures of an image set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convscope_sdk.errors import InvalidImageSet
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_sdk.images import to_tensor
from convscope_techniques.training.decoded import DecodedPictures

__all__ = ["RandomCrops"]

_REDUCED = 4  # shorter edge of those, as a multiple of the crop's
_ZOOM = 3.0  # most pixels of a picture for one pixel of a crop, in each direction


class RandomCrops:
    """Square crops of random pictures at random places, sizes and sides.

    Args:
        pictures: Where they are from.
        size: Edge of a crop, pixels.
        held_out: Labels, or beginnings of names, of pictures that are never drawn.

    Attributes:
        shown: The first picture that was held out, at most 4 x size long, or the set's last.

    Raises:
        InvalidImageSet: nothing is left to draw from.
    """

    def __init__(self, pictures: ImageSet, size: int, held_out: Sequence[str] = ()) -> None:
        self._pictures, self._size = pictures, size
        self._decoded = DecodedPictures(pictures, _REDUCED * size)
        labels = pictures.labels() or [""] * len(pictures)
        out = [
            number
            for number, (name, label) in enumerate(zip(pictures.names, labels, strict=True))
            if any(word and (label == word or name.startswith(word)) for word in held_out)
        ] or [len(pictures) - 1]
        self._numbers = sorted(set(range(len(pictures))) - set(out))
        if not self._numbers:
            raise InvalidImageSet(
                f"image set {pictures.name!r} has no picture to learn from beside those that are held out",
                metadata={"image_set": pictures.name},
            )
        self.shown = self._first([*out, *self._numbers])

    def __len__(self) -> int:
        return len(self._numbers)

    def batch(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 3, size, size) RGB in [0, 1] on the network's device.

        Raises:
            InvalidImageSet: no picture can be read.
        """
        crops: list[Tensor] = []
        failures = 0
        while len(crops) < count:
            number = self._numbers[int(rng.integers(len(self._numbers)))]
            draw = rng.random(4)
            picture = self._decoded.picture(number)
            if picture is None:
                failures += 1
                if failures > 10 * (len(self._numbers) + count):
                    raise self._decoded.none_readable()
                continue
            crops.append(self._crop(picture, draw))
        return torch.cat(crops).to(self._pictures.network.device)

    def _crop(self, picture: Image.Image, draw: np.ndarray) -> Tensor:
        largest = min(*picture.size, _ZOOM * self._size)
        edge = min(self._size, largest) * (largest / min(self._size, largest)) ** draw[0]
        left, top = (draw[1] * (picture.width - edge), draw[2] * (picture.height - edge))
        box = (left, top, left + edge, top + edge)
        crop = picture.resize((self._size, self._size), Image.Resampling.BICUBIC, box)
        return to_tensor(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw[3] < 1 / 2 else crop)

    def _first(self, numbers: Sequence[int]) -> Image.Image:
        for number in numbers:
            if (picture := self._decoded.picture(number)) is not None:
                return picture
        raise self._decoded.none_readable()
