"""A folder of pictures as an image set; its sub-folders are its classes."""

from __future__ import annotations

import csv
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from convscope_sdk.errors import InvalidImageSet
from convscope_sdk.image_sets.digest_cache import DigestCache
from convscope_sdk.image_sets.spec import CLASS, ImageSetEntry, ImageSetSpec

__all__ = ["SUFFIXES", "FolderSource", "folder_spec"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""Endings of the files that are taken for pictures."""

LABELS = "labels.csv"
"""A table beside the pictures: a column `name`, and a label column for each further heading."""


class FolderSource:
    """Every folder within a directory is an image set of that name.

    Args:
        directory: Where the folders are; links are followed.
        cache: Where digests of files are kept between processes; nowhere where None.
    """

    name = "folder"

    def __init__(self, directory: Path, *, cache: Path | None = None) -> None:
        self._directory = directory
        self._cache = cache

    def entries(self) -> Iterator[ImageSetEntry]:
        """The folders, by name."""
        if not self._directory.is_dir():
            return
        for folder in sorted(self._directory.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                yield ImageSetEntry(folder.name, f"pictures in {folder}")

    def spec(self, name: str) -> ImageSetSpec | None:
        """The folder `name` as it is now."""
        if not name or name in {".", ".."} or Path(name).name != name:
            return None
        folder = self._directory / name
        return folder_spec(name, folder, cache=self._digests(folder)) if folder.is_dir() else None

    @functools.lru_cache(maxsize=32)  # noqa: B019 - a source lives as long as its host
    def _digests(self, folder: Path) -> DigestCache:
        if self._cache is None:
            return DigestCache()
        return DigestCache(self._cache / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:32]}.json")


def folder_spec(name: str, folder: Path, *, cache: DigestCache | None = None) -> ImageSetSpec:
    """The pictures below `folder`, in the order of their paths, as an image set called `name`.

    The first sub-folder of a picture's path is its class. A table `labels.csv` in the folder with a column `name`
    gives further label columns. Hidden files and folders are passed over.

    Raises:
        InvalidImageSet: the folder is missing, has no picture, or its table cannot be read.
    """
    if not folder.is_dir():
        raise InvalidImageSet(f"there is no folder {str(folder)!r}; check the path", reason="IMAGE_SET_NOT_FOUND")
    names = sorted(_pictures(folder))
    if not names:
        raise InvalidImageSet(
            f"image set {name!r} is empty: no {', '.join(sorted(SUFFIXES))} file lies below {folder}",
            reason="IMAGE_SET_EMPTY",
        )
    digests = cache or DigestCache()

    def read(index: int) -> bytes:
        return (folder / names[index]).read_bytes()

    def digest(index: int) -> bytes:
        found = digests.digest(folder / names[index])
        if index == len(names) - 1:
            digests.save()
        return found

    return ImageSetSpec(
        name,
        FolderSource.name,
        names,
        read,
        digest,
        labels=_labels(folder, names),
        description=f"{len(names):,} pictures in {folder}",
    )


def _pictures(folder: Path) -> Iterator[str]:
    root, endings = str(folder), tuple(SUFFIXES)
    for directory, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        # Once for each directory: a path of pathlib's for each of a million files takes many seconds.
        prefix = "" if directory == root else f"{Path(directory).relative_to(root).as_posix()}/"
        for file in files:
            if file.lower().endswith(endings) and not file.startswith("."):
                yield prefix + file


def _labels(folder: Path, names: Sequence[str]) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    if any("/" in name for name in names):
        columns[CLASS] = [name.split("/")[0] if "/" in name else "" for name in names]
    table = folder / LABELS
    if not table.is_file():
        return columns
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidImageSet(f"cannot read {table}: {error}", reason="IMAGE_SET_LABELS") from None
    if not rows or "name" not in rows[0]:
        raise InvalidImageSet(
            f"{table} needs a heading with a column 'name' and a row for each picture", reason="IMAGE_SET_LABELS"
        )
    by_name = {row["name"]: row for row in rows}
    for column in rows[0]:
        if column and column != "name":
            columns[column] = [(by_name.get(name, {}).get(column) or "") for name in names]
    return columns
