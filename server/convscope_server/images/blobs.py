"""Files by the SHA-256 of their bytes: paths, and what is done to them. Everything here blocks."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import fsspec

from convscope_server.errors import RequestError
from convscope_server.room import needs_room

__all__ = ["BlobInfo", "Blobs", "digest_of", "mismatch"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INCOMING = "incoming"


def digest_of(content: bytes) -> str:
    """The name of a blob: "sha256:" and 64 lower-case hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A file of the store.

    Attributes:
        digest: Its name as a blob, or "" where it is none.
        path: Where it lies.
        size_bytes: Its length.
        modified: Unix time at which it came or was last asked for.
    """

    digest: str
    path: str
    size_bytes: int
    modified: float


class Blobs:
    """The files of a content store at an fsspec URL, a folder for each first two digits of the digest."""

    def __init__(self, url: str, max_bytes: int) -> None:
        self._fs: Any
        self._fs, root = fsspec.core.url_to_fs(url)
        self._root: str = root.rstrip("/")
        self._max_bytes = max_bytes
        self._arriving: set[str] = set()
        self._is_local = bool(getattr(self._fs, "local_file", False))

    def path(self, digest: str) -> str:
        """Where a blob lies. Refuses anything but a digest, so that no name can lead out of the store."""
        if not _DIGEST.fullmatch(digest):
            what = f'{digest[:80]!r} is not "sha256:" and 64 lower-case hexadecimal digits'
            raise RequestError.invalid("DIGEST_INVALID", [("digest", what)])
        name = digest.removeprefix("sha256:")
        return f"{self._root}/{name[:2]}/{name}"

    def put(self, content: bytes, digest: str | None) -> str:
        """Keep a blob, unless it is there; gives its digest."""
        self.check_size(len(content))
        actual = digest_of(content)
        if digest is not None and digest != actual:
            raise mismatch(digest, actual)
        path = self.path(actual)
        if not self.exists(path):
            temporary = self.temporary()
            try:
                with needs_room(), self.create(temporary) as file:
                    file.write(content)
                self.rename(temporary, path)
            finally:
                self.remove(temporary)
        return actual

    def read(self, path: str, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; the rest where `size` is negative."""
        with self._fs.open(path, "rb") as file:
            file.seek(offset)
            return bytes(file.read(size))

    def size(self, path: str) -> int:
        """Length in bytes."""
        return int(self._fs.size(path))

    def exists(self, path: str) -> bool:
        """Whether there is one."""
        return bool(self._fs.exists(path))

    def temporary(self) -> str:
        """Where a blob may be written that is not whole yet."""
        return f"{self._root}/{_INCOMING}/{uuid.uuid4().hex}"

    def create(self, path: str) -> Any:
        """A file to write to; it is arriving until it is renamed or removed."""
        self._arriving.add(path)
        self._make_folder_of(path)
        return self._fs.open(path, "wb")

    def rename(self, temporary: str, path: str) -> None:
        """Let a whole blob appear under its name."""
        with needs_room():
            self._make_folder_of(path)
            self._fs.mv(temporary, path)
        self._arriving.discard(temporary)

    def remove(self, path: str) -> None:
        """Forget it; one that is not here is fine."""
        self._arriving.discard(path)
        with suppress(FileNotFoundError):
            self._fs.rm_file(path)

    def touch(self, path: str, moment: float) -> None:
        """Note that somebody asked for it, where files know when that was."""
        if self._is_local:
            with suppress(OSError):
                os.utime(path, (moment, moment))

    def folders(self) -> list[str]:
        """The folders that hold blobs."""
        return [entry["name"] for entry in self._entries(self._root) if entry["type"] == "directory"]

    def listed(self, folder: str) -> list[BlobInfo]:
        """The files of a folder, those that are no blobs as well; none where it is the folder of what arrives."""
        if folder.rpartition("/")[2] == _INCOMING:
            return []
        return [self._info(entry) for entry in self._entries(folder) if entry["type"] == "file"]

    def sweep(self, before: float) -> int:
        """Remove what was left unfinished before a time; gives how many there were."""
        old = self.broken_off(before)
        for path in old:
            self.remove(path)
        return len(old)

    def broken_off(self, before: float) -> list[str]:
        """What was left unfinished before a time, and is not arriving now."""
        left = [self._info(entry) for entry in self._entries(f"{self._root}/{_INCOMING}")]
        return [file.path for file in left if file.modified < before and file.path not in self._arriving]

    def check_size(self, size: int) -> None:
        """Refuses a blob above the largest size."""
        if size > self._max_bytes:
            raise RequestError.of(
                "INVALID_ARGUMENT",
                "CONTENT_TOO_LARGE",
                f"the content has more than {self._max_bytes} bytes, the most that this server keeps",
                metadata={"max_bytes": str(self._max_bytes)},
            )

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        try:
            return list(self._fs.ls(folder, detail=True, refresh=True))
        except FileNotFoundError:
            return []

    def _info(self, entry: dict[str, Any]) -> BlobInfo:
        path = str(entry["name"])
        digest = f"sha256:{path.rpartition('/')[2]}"
        is_blob = _DIGEST.fullmatch(digest) is not None and self.path(digest).endswith(path[-67:])
        return BlobInfo(digest if is_blob else "", path, int(entry["size"] or 0), _modified(entry))

    def _make_folder_of(self, path: str) -> None:
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)


def _modified(entry: dict[str, Any]) -> float:
    """Every kind of file system names it differently."""
    found = next((entry[key] for key in ("mtime", "LastModified", "modified", "updated", "created") if key in entry), 0)
    return found.timestamp() if isinstance(found, dt.datetime) else float(found)


def mismatch(digest: str, actual: str) -> RequestError:
    """The refusal for bytes that are not those of a digest."""
    return RequestError.of(
        "INVALID_ARGUMENT",
        "DIGEST_MISMATCH",
        f"the bytes that arrived have the digest {actual}, not {digest}: cut short or altered; send them again",
        metadata={"expected": digest, "actual": actual},
    )
