"""Pictures of an image set that a training asks for again and again."""

from __future__ import annotations

from PIL import Image

from convscope_sdk.errors import InvalidImageSet, TechniqueError
from convscope_sdk.image_sets.image_set import ImageSet

__all__ = ["DecodedPictures"]

_KEPT_BYTES = 256 << 20


class DecodedPictures:
    """Pictures by number, kept decoded up to 256 MiB, no larger than is needed.

    Args:
        image_set: Where they come from.
        shorter: Their shorter edge at most, pixels; larger ones are reduced, bicubic.
    """

    def __init__(self, image_set: ImageSet, shorter: int) -> None:
        self._image_set, self._shorter = image_set, shorter
        self._kept: dict[int, Image.Image | None] = {}
        self._bytes = 0

    def picture(self, number: int) -> Image.Image | None:
        """The picture; None where it cannot be read."""
        if number in self._kept:
            return self._kept[number]
        try:
            found: Image.Image | None = self._reduced(self._image_set.picture(number))
        except TechniqueError:
            found = None
        size = 0 if found is None else 3 * found.width * found.height
        while self._kept and self._bytes + size > _KEPT_BYTES:
            gone = self._kept.pop(next(iter(self._kept)))
            self._bytes -= 0 if gone is None else 3 * gone.width * gone.height
        self._kept[number] = found
        self._bytes += size
        return found

    def none_readable(self) -> InvalidImageSet:
        """The refusal of a set in which nothing can be read."""
        return InvalidImageSet(
            f"no picture of image set {self._image_set.name!r} can be read",
            reason="IMAGE_SET_UNREADABLE",
            metadata={"image_set": self._image_set.name},
        )

    def _reduced(self, picture: Image.Image) -> Image.Image:
        factor = self._shorter / min(picture.size)
        if factor >= 1:
            return picture
        width, height = (max(round(edge * factor), 1) for edge in picture.size)
        return picture.resize((width, height), Image.Resampling.BICUBIC)
