"""Digests of files that have not changed since they were last read."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

__all__ = ["DigestCache"]


class DigestCache:
    """The sha256 of files, read again only where size, times or inode say that a file may have changed.

    Args:
        path: A JSON file that keeps what is known between processes; known in this process alone where None.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known = _load(path)
        self._changed = False

    def digest(self, file: Path) -> bytes:
        """The sha256 of the file's bytes, 32 bytes.

        Raises:
            OSError: it cannot be read.
        """
        key, stamp = str(file), _stamp(file)
        known = self._known.get(key)
        if known is not None and known[0] == stamp:
            return bytes.fromhex(known[1])
        found = hashlib.sha256(file.read_bytes()).digest()
        self._known[key] = (stamp, found.hex())
        self._changed = True
        return found

    def save(self) -> None:
        """Keep what is known, where there is a file to keep it in; a disk that is full only costs time later."""
        if self._path is None or not self._changed:
            return
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known))
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
        self._changed = False


def _stamp(file: Path) -> str:
    # The change time cannot be set by hand: a file that was written and had its time put back is read again.
    status = file.stat()
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def _load(path: Path | None) -> dict[str, tuple[str, str]]:
    if path is None or not path.exists():
        return {}
    try:
        return {key: (stamp, digest) for key, (stamp, digest) in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # half written by an older version, or not ours
        return {}
