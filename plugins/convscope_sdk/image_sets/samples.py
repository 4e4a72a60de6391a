"""The built-in image set `samples`: photographs from scikit-image and scikit-learn, and crops of them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from importlib import resources

import numpy as np
from PIL import Image

from convscope_sdk.errors import InvalidImageSet
from convscope_sdk.image_sets.spec import CLASS, ImageSetEntry, ImageSetSpec
from convscope_sdk.images import open_image

__all__ = ["NAME", "SamplesSource"]

NAME = "samples"
_PHOTOGRAPHS = {
    "astronaut": ("skimage.data", "astronaut.png"),
    "brick": ("skimage.data", "brick.png"),
    "cat": ("skimage.data", "chelsea.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "grass": ("skimage.data", "grass.png"),
    "gravel": ("skimage.data", "gravel.png"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "retina": ("skimage.data", "retina.jpg"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "temple": ("sklearn.datasets.images", "china.jpg"),
}
_CROPS = 11
_SMALLEST, _LARGEST = 0.4, 0.75  # edges of crops, as parts of the photograph's shorter one
_SEED = 20150519


class SamplesSource:
    """Eleven photographs, each whole and in eleven crops; the photograph is the class."""

    name = "builtin"

    def entries(self) -> Iterator[ImageSetEntry]:
        """The one set."""
        yield ImageSetEntry(NAME, "photographs of scikit-image and scikit-learn and crops of them, by photograph")

    def spec(self, name: str) -> ImageSetSpec | None:
        """The set `samples`."""
        if name != NAME:
            return None
        members = [(label, number) for label in _PHOTOGRAPHS for number in range(_CROPS + 1)]

        def read(index: int) -> Image.Image:
            label, number = members[index]
            photograph = self._photograph(label)
            return photograph if number == 0 else photograph.crop(_box(label, number, photograph.size))

        def digest(index: int) -> bytes:
            label, number = members[index]
            return hashlib.sha256(_file_digest(label) + f"{_SEED} {number}".encode()).digest()

        return ImageSetSpec(
            NAME,
            self.name,
            [f"{label}/{number:02d}" for label, number in members],
            read,
            digest,
            labels={CLASS: [label for label, _ in members]},
            description=next(self.entries()).description,
        )

    @functools.lru_cache(maxsize=2)  # noqa: B019 - a source lives as long as its host
    def _photograph(self, label: str) -> Image.Image:
        return open_image(_file(label)).picture


def _file(label: str) -> bytes:
    package, file = _PHOTOGRAPHS[label]
    try:
        return resources.files(package).joinpath(file).read_bytes()
    except (ImportError, OSError):
        raise InvalidImageSet(
            f"image set {NAME!r} needs scikit-image and scikit-learn: pip install 'convscope[server]'",
            reason="IMAGE_SET_NOT_FOUND",
        ) from None


@functools.cache
def _file_digest(label: str) -> bytes:
    return hashlib.sha256(_file(label)).digest()


def _box(label: str, number: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A square at a place of its own, the same on every machine."""
    rng = np.random.default_rng([_SEED, list(_PHOTOGRAPHS).index(label), number])
    edge = round(min(size) * rng.uniform(_SMALLEST, _LARGEST))
    left, top = (int(rng.integers(0, length - edge + 1)) for length in size)
    return left, top, left + edge, top + edge
