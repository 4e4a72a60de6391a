"""`torchvision:NAME`: the data sets of torchvision whose files are present, as image sets."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from convscope_sdk.errors import InvalidImageSet, UnknownName
from convscope_sdk.image_sets.spec import CLASS, ImageSetEntry, ImageSetSpec
from convscope_sdk.torchvision_ops import ensure_torchvision

__all__ = ["TorchvisionSets"]

_PREFIX = "torchvision:"
_BY_FLAG: Mapping[str, Mapping[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_BY_NAME: Mapping[str, Mapping[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
_PET: Mapping[str, Mapping[str, Any]] = {"train": {"split": "trainval"}, "test": {"split": "test"}}
# How each data set is told which part is wanted.
_DATA_SETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "CIFAR10": _BY_FLAG,
    "CIFAR100": _BY_FLAG,
    "DTD": _BY_NAME,
    "FGVCAircraft": _BY_NAME,
    "FashionMNIST": _BY_FLAG,
    "Flowers102": _BY_NAME,
    "Food101": _BY_NAME,
    "GTSRB": _BY_NAME,
    "KMNIST": _BY_FLAG,
    "MNIST": _BY_FLAG,
    "OxfordIIITPet": _PET,
    "STL10": _BY_NAME,
    "SVHN": _BY_NAME,
}


class TorchvisionSets:
    """Resolves `torchvision:CIFAR10` and `torchvision:CIFAR10/train`; the test part where none is named.

    Args:
        root: Where torchvision keeps its files, as its `root` argument; nothing is downloaded.
    """

    name = "torchvision"

    def __init__(self, root: Path) -> None:
        self._root = root

    def entries(self) -> Iterator[ImageSetEntry]:
        """None: all of them are names that people know."""
        return iter(())

    def spec(self, name: str) -> ImageSetSpec | None:
        """The data set, or None where the name does not start with "torchvision:".

        Raises:
            UnknownName: no such data set or part; carries near names.
            InvalidImageSet: its files are not there.
        """
        if not name.startswith(_PREFIX):
            return None
        which, _, part = name.removeprefix(_PREFIX).partition("/")
        if which not in _DATA_SETS:
            raise UnknownName.among("image set", which, _DATA_SETS, hint="data sets of torchvision")
        if part and part not in _DATA_SETS[which]:
            raise UnknownName.among("image set", name, [f"{_PREFIX}{which}/{p}" for p in _DATA_SETS[which]])
        part = part or "test"
        return self._spec(name, which, part)

    # Their files do not change, and torchvision checks that they are whole; opening one takes a second.
    @functools.lru_cache(maxsize=2)  # noqa: B019 - a source lives as long as its host
    def _spec(self, name: str, which: str, part: str) -> ImageSetSpec:
        pictures = self._opened(which, _DATA_SETS[which][part])

        def read(index: int) -> Image.Image:
            picture: Image.Image = pictures[index][0]
            return picture

        @functools.cache
        def digest(index: int) -> bytes:
            picture = read(index)
            return hashlib.sha256(f"{picture.mode} {picture.size}".encode() + picture.tobytes()).digest()

        return ImageSetSpec(
            name,
            self.name,
            [f"{part}/{index:06d}" for index in range(len(pictures))],
            read,
            digest,
            labels={CLASS: labels} if (labels := _labels(pictures)) else {},
            description=f"{part} part of {which}, {len(pictures):,} pictures",
        )

    def _opened(self, which: str, options: Mapping[str, Any]) -> Any:
        ensure_torchvision()
        from torchvision import datasets

        try:
            return getattr(datasets, which)(str(self._root), download=False, **options)
        except (RuntimeError, OSError) as error:
            raise InvalidImageSet(
                f"the files of torchvision's {which} are not in {self._root} ({error}); download them there with "
                f"torchvision.datasets.{which}({str(self._root)!r}, download=True)",
                reason="IMAGE_SET_NOT_FOUND",
            ) from None


def _labels(pictures: Any) -> list[str]:
    """What each picture is called; empty where the data set does not say without reading them all."""
    found: Sequence[Any] | None = next(
        (getattr(pictures, name) for name in ("targets", "labels", "_labels") if hasattr(pictures, name)), None
    )
    if found is None:
        return []
    classes: Sequence[str] = getattr(pictures, "classes", None) or ()
    numbers = [int(number) for number in found]
    return [str(classes[number]) if 0 <= number < len(classes) else str(number) for number in numbers]
