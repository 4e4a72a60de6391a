"""What becomes another once any line of a plugin's code is another, whether or not its version was raised."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["revision_of"]


def revision_of(module: str) -> str:
    """A short name for the code of a loaded module's whole package, and of the SDK that it stands on.

    Nothing is read: files are told apart by size and time of change. The code of a module that is no package is its
    file and those beside it. Empty where there are no files to go by.
    """
    root = module.partition(".")[0]
    own = _files_of(root)
    return _digest((*own, *_sdk())) if own else ""


@functools.cache
def _sdk() -> tuple[str, ...]:
    return _files_of("convscope_sdk")


def _files_of(root: str) -> tuple[str, ...]:
    module = sys.modules.get(root)
    package = getattr(module, "__path__", None)
    if package is not None:
        return tuple(_marks(file for folder in package for file in Path(folder).rglob("*.py")))
    file = getattr(module, "__file__", None)
    return tuple(_marks(Path(file).parent.glob("*.py"))) if file else ()


def _marks(files: Iterable[Path]) -> Iterable[str]:
    for file in sorted(files):
        try:
            found = file.stat()
        except OSError:  # gone since it was listed: an editor's own
            continue
        yield f"{file} {found.st_size} {found.st_mtime_ns}"


def _digest(marks: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:16]
