"""A new plugin package from the template beside this module."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

__all__ = ["ScaffoldError", "create"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 50
_SUFFIX = ".template"
_PREFIX = "convscope-"
# convscope_sdk and the like are packages of our own.
_TAKEN = ("convscope", "sdk", "server", "techniques", "testing", "v1")


class ScaffoldError(ValueError):
    """A package cannot be made; the text says why and what to do instead."""


def create(name: str, parent: Path, *, author: str = "") -> list[Path]:
    """The files of a new package in `parent`/convscope-NAME, none of which was there before.

    Args:
        name: Lower-case words joined by hyphens, such as "edge-maps"; a leading "convscope-" is not repeated.
        parent: An existing folder.
        author: For the licence and the metadata.

    Raises:
        ScaffoldError: the name is not of that form or taken, or the folder is there already.
        OSError: the folder cannot be written.
    """
    short = _checked(name)
    folder = parent / f"{_PREFIX}{short}"
    if folder.exists() or folder.is_symlink():
        raise ScaffoldError(
            f"{str(folder)!r} is there already, and nothing is overwritten: take another name or folder"
        )
    if not parent.is_dir():
        raise ScaffoldError(f"there is no folder {str(parent)!r}; make it first")
    words = _words(short, author)
    made = []
    for source, place in _files(resources.files("convscope_sdk") / "_template", Path()):
        path = folder / str(place).removesuffix(_SUFFIX).replace("src/package", f"src/{words['package']}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(Template(source.read_text(encoding="utf-8")).substitute(words))
        made.append(path)
    return sorted(made)


def _checked(name: str) -> str:
    short = name.removeprefix(_PREFIX)
    if not _NAME.fullmatch(short) or len(short) > _LONGEST:
        meant = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:_LONGEST].strip("-")
        hint = f"; did you mean {meant!r}?" if _NAME.fullmatch(meant) else ""
        raise ScaffoldError(
            f"a plugin's name is lower-case words joined by hyphens, at most {_LONGEST} characters, such as edge-maps, "
            f"not {name[: 2 * _LONGEST]!r}{hint}"
        )
    if short in _TAKEN:
        raise ScaffoldError(f"convscope's own packages are called {', '.join(_TAKEN)}: take another name than {name!r}")
    return short


def _words(short: str, author: str) -> dict[str, str]:
    """What stands in the template for names."""
    module = short.replace("-", "_")
    clean = " ".join(author.replace('"', "'").replace("\\", "/").split())
    return {
        "distribution": f"{_PREFIX}{short}",
        "package": f"convscope_{module}",
        "identifier": f"{module}.sensitivity",
        "author": clean or f"The authors of {_PREFIX}{short}",
        "version": ".".join(importlib.metadata.version("convscope").split(".")[:2]),
        "year": str(dt.datetime.now(dt.UTC).year),
    }


def _files(folder: Traversable, place: Path) -> list[tuple[Traversable, Path]]:
    """Every file of the template with its place."""
    found: list[tuple[Traversable, Path]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _files(entry, place / entry.name)
        elif entry.name.endswith(_SUFFIX):
            found.append((entry, place / entry.name))
    return found
