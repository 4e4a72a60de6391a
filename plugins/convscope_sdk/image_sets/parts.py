"""The parts of indexes as they lie on disk: who used each last and when, and how it goes. Imports no torch.

<network and preprocessing>/<layer>/<set digest>         one part, whole
<network and preprocessing>/<layer>/<set digest>.used    the set that used it last, as JSON; its time is when
                                               .lock     held by whoever writes the part, or removes it
                                               .partial  .kept  see `item`
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

__all__ = ["META", "Part", "lock", "note_use", "parts", "remove", "set_digest"]

META = "meta.json"
"""What a part is whole with."""

_SET_DIGITS = 32
_FOLDERS = ("", ".partial", ".kept")


@dataclass(frozen=True, slots=True)
class Part:
    """What one layer of a network makes of one state of a set, whole or not.

    Attributes:
        path: Where it lies once it is whole.
        set_name: The set that used it last; "" where nothing says so.
        source: The source of that set; "" likewise.
        used: When that was, in Unix seconds.
    """

    path: Path
    set_name: str
    source: str
    used: float

    @property
    def digest(self) -> str:
        """Of the set."""
        return self.path.name

    @property
    def size_bytes(self) -> int:
        """What it takes on the disk."""
        return sum(_size(file) for folder in _folders(self.path) for file in folder.rglob("*"))


def set_digest(digests: bytes) -> str:
    """The digest of a set, 32 hexadecimal digits, from the sha256 of each of its pictures, in order."""
    return hashlib.sha256(digests).hexdigest()[:_SET_DIGITS]


def parts(directory: Path) -> list[Part]:
    """What there is under the directory of an `IndexStore`, in no order."""
    found = {
        path.with_suffix("")
        for path in directory.glob("*/*/*")
        if path.suffix in {*_FOLDERS, ".used"} and len(path.stem) == _SET_DIGITS
    }
    return [_part(path) for path in found]


def note_use(path: Path, set_name: str, source: str) -> None:
    """Let it be known that a set uses the part now; a disk that takes no note of it costs time later at most."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".used").write_text(json.dumps({"set": set_name, "source": source}))


def remove(part: Part) -> int:
    """Remove a part and what was derived from it; gives the bytes. One that is being made stays, and gives 0.

    Whoever has it open goes on reading where the operating system lets them, which is everywhere but on Windows.
    """
    with part.path.with_suffix(".lock").open("a+") as file:
        try:
            lock(file)
        except OSError:
            return 0
        size = part.size_bytes
        with suppress(OSError):
            (part.path / META).unlink()  # from here on nobody takes it for whole
        for folder in _folders(part.path):
            shutil.rmtree(folder, ignore_errors=True)
        part.path.with_suffix(".used").unlink(missing_ok=True)
    return size


def _part(path: Path) -> Part:
    used = path.with_suffix(".used")
    try:
        note = json.loads(used.read_text())
        return Part(path, str(note["set"]), str(note["source"]), used.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):  # of before there were notes, or half written
        return Part(path, "", "", max(map(_modified, _folders(path)), default=0.0))


def _folders(path: Path) -> list[Path]:
    return [path.with_suffix(suffix) for suffix in _FOLDERS]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:  # it went meanwhile
        return 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


if sys.platform == "win32":
    import msvcrt

    def lock(file: IO[str]) -> None:
        """Have the file alone until it is closed or the process ends; OSError where another has it."""
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def lock(file: IO[str]) -> None:
        """Have the file alone until it is closed or the process ends; OSError where another has it."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
