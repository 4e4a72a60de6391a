"""Folders of small pictures, a small network, and stepping an index by hand."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convscope_sdk.events import Event
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_sdk.image_sets.index import Index
from convscope_sdk.image_sets.spec import CLASS, ImageSetEntry, ImageSetSpec
from convscope_sdk.image_sets.store import IndexStore
from convscope_sdk.network import Network
from support.zoo import tiny

__all__ = ["CLASSES", "drained", "few_pictures", "folder_of", "image_set_of", "noise"]

CLASSES = ("blue", "green", "red")


def noise(seed: int, *, size: tuple[int, int] = (40, 36), tint: int = 0) -> Image.Image:
    """Seeded noise, with one channel lit."""
    pixels = np.random.default_rng(seed).integers(0, 128, (size[1], size[0], 3), np.uint8)
    pixels[..., tint] += 100
    return Image.fromarray(pixels)


def folder_of(directory: Path, count: int = 12, *, start: int = 0) -> Path:
    """A folder with `count` pictures in sub-folders by class, of two sizes."""
    for number in range(start, start + count):
        file = directory / CLASSES[number % 3] / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        size = (40, 36) if number % 2 else (33, 64)
        noise(number, size=size, tint=2 - number % 3).save(file, compress_level=1)
    return directory


def few_pictures() -> ImageSets:
    """A catalog with the one set "few": six small pictures of three classes, in memory."""
    labels = [CLASSES[number % 3] for number in range(6)]
    names = [f"{label}/{number}" for number, label in enumerate(labels)]
    spec = ImageSetSpec("few", "tests", names, lambda number: noise(number, tint=number % 3), labels={CLASS: labels})

    class Few:
        name = "tests"

        def entries(self) -> Iterator[ImageSetEntry]:
            yield ImageSetEntry("few")

        def spec(self, name: str) -> ImageSetSpec | None:
            return spec if name == "few" else None

    return ImageSets(sources=[Few()])


def image_set_of(folder: Path, store: IndexStore, network: Network | None = None, **options: Any) -> ImageSet:
    """The folder as the image set "mine"."""
    return ImageSets({"mine": folder}, store=store).open("mine", network or tiny(), **options)


def drained(steps: Generator[Event, None, Index]) -> tuple[Index, list[Event]]:
    """The index, and what was yielded on the way."""
    events: list[Event] = []

    def run() -> Iterator[Event]:
        index = yield from steps
        found.append(index)

    found: list[Index] = []
    events.extend(run())
    return found[0], events


def same_arrays(first: Sequence[Any], second: Sequence[Any]) -> None:
    """Equal to the last bit."""
    for mine, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
