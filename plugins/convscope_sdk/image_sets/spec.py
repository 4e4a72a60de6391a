"""Where image sets come from: what a source tells a host. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from PIL import Image

__all__ = ["CLASS", "ImageSetEntry", "ImageSetSource", "ImageSetSpec"]

CLASS = "class"
"""The label column that the classes of a set are in: sub-folders, or what a data set calls its targets."""


@dataclass(frozen=True, slots=True)
class ImageSetEntry:
    """An image set that a source lists: no picture is read to say so."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class ImageSetSpec:
    """An image set as its source gives it: a snapshot of which pictures it has, in order.

    Attributes:
        name: As asked for.
        source: Name of the source that made it.
        names: What each member is called, unique, in order.
        read: Gives member `i`: the bytes of an image file, or a picture. Raises OSError where it is gone.
        digest: Gives the sha256 of what `read` gives, 32 bytes, where that costs less than reading. Bytes that are
            read later are held against it.
        labels: Columns of one label for each member, "" where it has none. `CLASS` is the usual one.
        description: One line for a person.
    """

    name: str
    source: str
    names: Sequence[str]
    read: Callable[[int], bytes | Image.Image]
    digest: Callable[[int], bytes] | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    description: str = ""


@runtime_checkable
class ImageSetSource(Protocol):
    """A place that image sets come from; plugins offer them through the hook `convscope_image_set_sources`."""

    name: str

    def entries(self) -> Iterable[ImageSetEntry]:
        """The image sets that the catalog lists, cheaply."""

    def spec(self, name: str) -> ImageSetSpec | None:
        """The image set `name` as it is now, or None where the name is not one of this source.

        Raises:
            TechniqueError: the name is this source's but cannot be had; the message says what to do.
        """
