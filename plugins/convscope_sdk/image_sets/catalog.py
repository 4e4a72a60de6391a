"""The image sets that a technique can ask for by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convscope_sdk.errors import InvalidParams, UnknownName
from convscope_sdk.image_sets.folder import folder_spec
from convscope_sdk.image_sets.image_set import ImageSet, SetFit
from convscope_sdk.image_sets.samples import SamplesSource
from convscope_sdk.image_sets.spec import ImageSetEntry, ImageSetSource, ImageSetSpec
from convscope_sdk.image_sets.store import IndexStore
from convscope_sdk.images import MAX_PIXELS

if TYPE_CHECKING:
    from convscope_sdk.network import Network

__all__ = ["ImageSets"]


class ImageSets:
    """Image sets by name, and where their indexes are kept.

    Args:
        folders: Folders by the names that they are to have. They win over sources.
        sources: Asked in order; `samples` alone where none are given.
        store: Keeps the indexes; a temporary one that goes with this object where None.
        max_pixels: Most pixels that a picture may have.
    """

    def __init__(
        self,
        folders: Mapping[str, str | os.PathLike[str]] | None = None,
        *,
        sources: Sequence[ImageSetSource] | None = None,
        store: IndexStore | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.store = store or IndexStore()
        self._folders = {name: Path(folder) for name, folder in (folders or {}).items()}
        self._sources: Sequence[ImageSetSource] = (SamplesSource(),) if sources is None else sources
        self._max_pixels = max_pixels

    def beside(self, source: ImageSetSource) -> ImageSets:
        """The same sets and indexes, and those of `source` before them."""
        both = ImageSets(sources=(source, *self._sources), store=self.store, max_pixels=self._max_pixels)
        both._folders = self._folders
        return both

    def entries(self) -> Iterator[tuple[str, ImageSetEntry]]:
        """What there is, with the source of each, by name; a name that two sources have is the first's."""
        seen = {name: ("folder", ImageSetEntry(name, f"pictures in {path}")) for name, path in self._folders.items()}
        for source in self._sources:
            for entry in source.entries():
                seen.setdefault(entry.name, (source.name, entry))
        yield from (seen[name] for name in sorted(seen))

    def spec(self, name: str) -> ImageSetSpec:
        """The set as it is now.

        Raises:
            UnknownName: no such set; carries near names.
            TechniqueError: it cannot be had; the message says what to do.
        """
        if name in self._folders:
            return folder_spec(name, self._folders[name])
        for source in self._sources:
            if (spec := source.spec(name)) is not None:
                return spec
        raise UnknownName.among("image set", name, (entry.name for _, entry in self.entries()))

    def open(self, name: str, network: Network, *, fit: str = "crop", size: int | None = None) -> ImageSet:
        """The set through the eyes of a network; see `Run.image_set`.

        Raises:
            UnknownName: no such set; carries near names.
            InvalidParams: pictures of a set all have one size: `fit` is "crop", "resize" or "pad".
            TechniqueError: it cannot be had; the message says what to do.
        """
        fits: dict[str, SetFit] = {"crop": "crop", "resize": "resize", "pad": "pad"}
        if fit not in fits:
            raise InvalidParams(f"the pictures of a set have one size: fit is crop, resize or pad, not {fit!r}")
        spec = self.spec(name)
        return ImageSet(spec, network, self.store, fit=fits[fit], size=size, max_pixels=self._max_pixels)
