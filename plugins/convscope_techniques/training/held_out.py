"""Which pictures of an image set are learned from, and which are not."""

from __future__ import annotations

from collections.abc import Sequence

from convscope_sdk.errors import InvalidImageSet
from convscope_sdk.image_sets.image_set import ImageSet

__all__ = ["divided"]


def divided(pictures: ImageSet, held_out: Sequence[str]) -> tuple[list[int], list[int]]:
    """The numbers of the pictures to learn from, and of those that are held out.

    Args:
        pictures: The set.
        held_out: Labels, or beginnings of names; where none fits, the set's last picture is held out.

    Raises:
        InvalidImageSet: nothing is left to learn from.
    """
    labels = pictures.labels() or [""] * len(pictures)
    out = [
        number
        for number, (name, label) in enumerate(zip(pictures.names, labels, strict=True))
        if any(word and (label == word or name.startswith(word)) for word in held_out)
    ] or [len(pictures) - 1]
    learnt = sorted(set(range(len(pictures))) - set(out))
    if not learnt:
        raise InvalidImageSet(
            f"image set {pictures.name!r} has no picture to learn from beside those that are held out",
            metadata={"image_set": pictures.name},
        )
    return learnt, out
