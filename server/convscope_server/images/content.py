"""Blobs by the SHA-256 of their bytes: images that clients send, results too large for the event log."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, Self, TypeVar

import fsspec

from convscope_server.errors import RequestError

__all__ = ["Blobs", "ContentStore", "Upload", "content_not_found", "digest_of"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INCOMING = "incoming"

T = TypeVar("T")

Holder = Callable[[Collection[str]], Awaitable[set[str]]]


def digest_of(content: bytes) -> str:
    """The name of a blob: "sha256:" and 64 lower-case hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class ContentStore:
    """Blobs under an fsspec URL ("/data/content", "file:///…", "memory://name", "s3://…").

    A blob appears under its name whole or not at all: it is written under another name first, then renamed.
    All methods may be called at once from one event loop; blocking work happens in threads.

    Args:
        url: Where blobs lie; made when the first one arrives.
        max_bytes: Largest blob.

    Attributes:
        holders: Each gives those of some blobs that it needs.
    """

    def __init__(self, url: str, *, max_bytes: int = 256 * 1024 * 1024) -> None:
        self._blobs = Blobs(url, max_bytes)
        self.max_bytes = max_bytes
        self.holders: list[Holder] = []

    async def put(self, content: bytes, digest: str | None = None) -> str:
        """Keep a blob and get its digest; one that is there already is not written again.

        Raises:
            RequestError: INVALID_ARGUMENT, DIGEST_MISMATCH where `digest` is given and is not the content's,
                CONTENT_TOO_LARGE.
        """
        return await asyncio.to_thread(self._blobs.put, content, digest)

    async def get(self, digest: str) -> bytes:
        """A whole blob.

        Raises:
            RequestError: NOT_FOUND, CONTENT_NOT_FOUND.
        """
        return await self.read(digest, 0, -1)

    async def read(self, digest: str, offset: int, size: int) -> bytes:
        """At most `size` bytes of a blob from `offset` on, all the rest where `size` is negative.

        Raises:
            RequestError: NOT_FOUND, CONTENT_NOT_FOUND; INVALID_ARGUMENT, OFFSET_INVALID.
        """
        if offset < 0:
            raise RequestError.invalid("OFFSET_INVALID", [("offset", f"{offset} is below 0")])
        return await self._found(digest, lambda path: self._blobs.read(path, offset, size))

    async def size(self, digest: str) -> int:
        """Length of a blob in bytes.

        Raises:
            RequestError: NOT_FOUND, CONTENT_NOT_FOUND.
        """
        return await self._found(digest, self._blobs.size)

    async def missing(self, digests: Iterable[str]) -> list[str]:
        """Those of `digests` that are not here, in the order given, each once.

        Raises:
            RequestError: INVALID_ARGUMENT, DIGEST_INVALID.
        """
        paths = {digest: self._blobs.path(digest) for digest in digests}
        return await asyncio.to_thread(lambda: [d for d, path in paths.items() if not self._blobs.exists(path)])

    async def total_size(self, digests: Iterable[str]) -> int:
        """Length in bytes of blobs that are all here, together."""
        paths = [self._blobs.path(digest) for digest in digests]
        return await asyncio.to_thread(lambda: sum(map(self._blobs.size, paths)))

    async def delete(self, digest: str) -> None:
        """Forget a blob; one that is not here is fine."""
        await asyncio.to_thread(self._blobs.remove, self._blobs.path(digest))

    async def drop(self, digests: Collection[str]) -> None:
        """Forget those of the blobs that no holder needs."""
        held = {digest for holder in self.holders for digest in await holder(digests)} if digests else set()
        for digest in digests:
            if digest not in held:
                await self.delete(digest)

    def upload(self, digest: str) -> Upload:
        """A blob that arrives in pieces.

        `async with store.upload(digest) as up: await up.write(chunk); await up.commit()`

        Raises:
            RequestError: INVALID_ARGUMENT, DIGEST_INVALID.
        """
        return Upload(self._blobs, digest)

    async def sweep(self, *, older_than: float = 86400.0) -> int:
        """Remove what killed uploads left behind more than `older_than` seconds ago; gives how many there were."""
        return await asyncio.to_thread(self._blobs.sweep, time.time() - older_than)

    async def _found(self, digest: str, action: Callable[[str], T]) -> T:
        path = self._blobs.path(digest)
        try:
            return await asyncio.to_thread(action, path)
        except FileNotFoundError:
            raise content_not_found(digest) from None


class Upload:
    """One blob on its way in; what was not committed when the `async with` block ends is gone."""

    def __init__(self, blobs: Blobs, digest: str) -> None:
        self._blobs = blobs
        self._digest = digest
        self._path = blobs.path(digest)
        self._temporary = ""
        self._file: Any = None
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()  # a cancelled write goes on in its thread: `_abort` waits for it
        self.size_bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(asyncio.to_thread(self._abort))

    async def write(self, chunk: bytes) -> None:
        """Add the next bytes.

        Raises:
            RequestError: INVALID_ARGUMENT, CONTENT_TOO_LARGE.
        """
        self._blobs.check_size(self.size_bytes + len(chunk))
        self.size_bytes += len(chunk)
        await asyncio.to_thread(self._write, chunk)

    async def commit(self) -> str:
        """Keep the blob; gives its digest.

        Raises:
            RequestError: INVALID_ARGUMENT, DIGEST_MISMATCH; nothing is kept then.
        """
        await asyncio.to_thread(self._commit)
        return self._digest

    def _write(self, chunk: bytes) -> None:
        with self._lock:
            self._open()
            self._hash.update(chunk)
            self._file.write(chunk)

    def _open(self) -> None:
        if self._file is None:
            self._temporary = self._blobs.temporary()
            self._file = self._blobs.create(self._temporary)

    def _commit(self) -> None:
        with self._lock:
            self._open()
            self._file.close()
            actual = f"sha256:{self._hash.hexdigest()}"
            if actual != self._digest:
                raise _mismatch(self._digest, actual)
            self._blobs.rename(self._temporary, self._path)

    def _abort(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._blobs.remove(self._temporary)


class Blobs:
    """The blocking half: paths and files. What is asked of them blocks."""

    def __init__(self, url: str, max_bytes: int) -> None:
        self._fs: Any
        self._fs, root = fsspec.core.url_to_fs(url)
        self._root: str = root.rstrip("/")
        self._max_bytes = max_bytes

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
            raise _mismatch(digest, actual)
        path = self.path(actual)
        if not self.exists(path):
            temporary = self.temporary()
            try:
                with self.create(temporary) as file:
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
        """A file to write to."""
        self._make_folder_of(path)
        return self._fs.open(path, "wb")

    def rename(self, temporary: str, path: str) -> None:
        """Let a whole blob appear under its name."""
        self._make_folder_of(path)
        self._fs.mv(temporary, path)

    def remove(self, path: str) -> None:
        """Forget it; one that is not here is fine."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(path)

    def sweep(self, before: float) -> int:
        """Remove what was left unfinished before a time; gives how many there were."""
        try:
            paths: list[str] = self._fs.ls(f"{self._root}/{_INCOMING}", detail=False)
        except FileNotFoundError:
            return 0
        old = [path for path in paths if self._fs.modified(path).timestamp() < before]
        for path in old:
            self.remove(path)
        return len(old)

    def check_size(self, size: int) -> None:
        """Refuses a blob above the largest size."""
        if size > self._max_bytes:
            raise RequestError.of(
                "INVALID_ARGUMENT",
                "CONTENT_TOO_LARGE",
                f"the content has more than {self._max_bytes} bytes, the most that this server keeps",
                metadata={"max_bytes": str(self._max_bytes)},
            )

    def _make_folder_of(self, path: str) -> None:
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)


def _mismatch(digest: str, actual: str) -> RequestError:
    return RequestError.of(
        "INVALID_ARGUMENT",
        "DIGEST_MISMATCH",
        f"the bytes that arrived have the digest {actual}, not {digest}: cut short or altered; send them again",
        metadata={"expected": digest, "actual": actual},
    )


def content_not_found(digest: str) -> RequestError:
    """The refusal for a blob that is not here, or that is somebody else's: the two look alike."""
    return RequestError.of(
        "NOT_FOUND",
        "CONTENT_NOT_FOUND",
        f"no content {digest}; send it with ContentService.Upload first",
        metadata={"digest": digest},
    )
