"""The pictures of an image set on their way to a server: named, labelled, hashed, and read again when they are sent."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from convscope._content import digest_of
from convscope.errors import InvalidArgument
from convscope.images import ImageLike, encode_image

__all__ = ["Bundle", "Pictures", "Progress"]

Pictures: TypeAlias = "str | os.PathLike[str] | Mapping[str, ImageLike] | Iterable[str | os.PathLike[str]]"
"""A folder, pictures by name, or paths of files."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of pictures that are done, and of all."""

AT_ONCE = 1000
"""Digests that one question may name."""

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


class Bundle:
    """Every picture with its name, digest and labels. Files are read one at a time; none is kept in memory.

    Args:
        pictures: A folder, whose sub-folders are classes; pictures by name; or paths of files.
        labels: Label columns, with the label of each picture by its name.

    Attributes:
        manifest: The JSON document that describes the set.

    Raises:
        InvalidArgument: there are none, two have one name, a file cannot be read, or a label is of no picture.
    """

    def __init__(self, pictures: Pictures, labels: Mapping[str, Mapping[str, str]] | None = None) -> None:
        named, columns = _named(pictures)
        columns |= {column: dict(values) for column, values in (labels or {}).items()}
        if not named:
            raise InvalidArgument(
                f"there are no pictures in {pictures!r}"[:200] + f"; files end in {', '.join(sorted(_SUFFIXES))}"
            )
        for column, values in columns.items():
            if strangers := sorted(values.keys() - named.keys()):
                raise InvalidArgument(f"labels[{column!r}] has a label for {strangers[0]!r}, which is no picture")
        self._sources: dict[str, ImageLike] = {}
        members = []
        for name, picture in named.items():
            digest = digest_of(encode_image(picture))
            self._sources[digest] = picture
            own = {column: values[name] for column, values in columns.items() if values.get(name)}
            members.append({"name": name, "digest": digest, **({"labels": own} if own else {})})
        self.manifest = json.dumps({"members": members}, ensure_ascii=False).encode()

    def __len__(self) -> int:
        return len(self._sources)

    def groups(self) -> Iterator[Sequence[str]]:
        """The digests of all files, as many at a time as may be asked about."""
        digests = list(self._sources)
        for start in range(0, len(digests), AT_ONCE):
            yield digests[start : start + AT_ONCE]

    def content(self, digest: str) -> bytes:
        """The file of that digest, read again.

        Raises:
            InvalidArgument: it is gone, or another one now.
        """
        picture = self._sources[digest]
        content = encode_image(picture)
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise InvalidArgument(f"{picture!r} changed while it was sent; create the set again"[:300])
        return content


def _named(pictures: Pictures) -> tuple[dict[str, ImageLike], dict[str, dict[str, str]]]:
    """Pictures by name, and their classes where folders say them."""
    if isinstance(pictures, Mapping):
        return dict(pictures), {}
    if isinstance(pictures, str | os.PathLike):
        return _folder(Path(pictures))
    paths = [Path(path) for path in pictures]
    common = Path(os.path.commonpath([path.absolute().parent for path in paths])) if paths else Path()
    named: dict[str, ImageLike] = {path.absolute().relative_to(common).as_posix(): path for path in paths}
    if len(named) < len(paths):
        raise InvalidArgument(f"{len(paths) - len(named)} of the {len(paths)} paths are given twice")
    return named, {}


def _folder(folder: Path) -> tuple[dict[str, ImageLike], dict[str, dict[str, str]]]:
    if not folder.is_dir():
        raise InvalidArgument(f"{str(folder)!r} is no folder; give a folder, paths of files, or pictures by name")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    shown: dict[str, ImageLike] = {
        name: path for name, path in names.items() if not any(part.startswith(".") for part in Path(name).parts)
    }
    classes = {name: name.split("/")[0] for name in shown if "/" in name}
    return shown, {"class": classes} if classes else {}
