"""Blobs by the SHA-256 of their bytes: images that clients send, results too large for the event log."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Self, TypeVar

from convscope_server.errors import RequestError
from convscope_server.images.blobs import BlobInfo, Blobs, digest_of, mismatch
from convscope_server.images.leases import Leases
from convscope_server.room import Room, StorageFullError, needs_room

__all__ = ["ContentStore", "Upload", "content_not_found", "digest_of"]

T = TypeVar("T")

Holder = Callable[[Collection[str]], Awaitable[set[str]]]
Leased = Callable[[str], AbstractAsyncContextManager[None]]
Forgetter = Callable[[Collection[str]], Awaitable[object]]


class ContentStore:
    """Blobs under an fsspec URL ("/data/content", "file:///…", "memory://name", "s3://…").

    A blob appears under its name whole or not at all: it is written under another name first, then renamed.
    Whoever sends a blob or finds it here has a lease of it, until `used` says that something refers to it.
    All methods may be called at once from one event loop; blocking work happens in threads.

    Args:
        url: Where blobs lie; made when the first one arrives.
        max_bytes: Largest blob.
        lease_seconds: How long a lease holds.
        clock: Unix seconds.
        room: Told of writes that find none, and asked by whoever takes on something new.

    Attributes:
        holders: Each gives those of some blobs that it needs.
        forgetters: Each is told of blobs that are about to go.
    """

    def __init__(
        self,
        url: str,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        lease_seconds: float = 86400.0,
        clock: Callable[[], float] = time.time,
        room: Room | None = None,
    ) -> None:
        self.room = room or Room()
        self._blobs = Blobs(url, max_bytes)
        self._clock = clock
        self._leases = Leases(lease_seconds, clock)
        self._leaving: dict[str, asyncio.Event] = {}
        self._drops: list[set[str]] = []
        self.max_bytes = max_bytes
        self.lease_seconds = lease_seconds
        self.holders: list[Holder] = []
        self.forgetters: list[Forgetter] = []

    async def put(self, content: bytes, digest: str | None = None) -> str:
        """Keep a blob and get its digest; one that is there already is not written again.

        Raises:
            RequestError: INVALID_ARGUMENT, DIGEST_MISMATCH where `digest` is given and is not the content's,
                CONTENT_TOO_LARGE; RESOURCE_EXHAUSTED, STORAGE_FULL.
        """
        found = await asyncio.to_thread(digest_of, content)
        async with self._leased(found):
            await asyncio.to_thread(self._blobs.put, content, digest)
            await asyncio.to_thread(self._touch, [found])
        return found

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
        new = await self._lease(paths)
        gone = await asyncio.to_thread(lambda: [d for d, path in paths.items() if not self._blobs.exists(path)])
        self._leases.release(new & set(gone))
        await asyncio.to_thread(self._touch, paths.keys() - set(gone))
        return gone

    async def total_size(self, digests: Iterable[str]) -> int:
        """Length in bytes of those of the blobs that are here, together."""
        return await asyncio.to_thread(lambda: sum(map(self._size, list(digests))))

    def used(self, digests: Collection[str]) -> None:
        """Something refers to these now: it holds them, and leases are over."""
        self._leases.release(digests)
        for each in self._drops:
            each.update(digests)

    async def delete(self, digest: str) -> None:
        """Forget a blob; one that is not here is fine."""
        await asyncio.to_thread(self._blobs.remove, self._blobs.path(digest))

    async def drop(self, digests: Collection[str]) -> int:
        """Forget those of the blobs that no holder needs and nobody has a lease of; gives the bytes that were freed."""
        used: set[str] = set()  # while holders are asked: they may have answered before it was
        self._drops.append(used)
        try:
            held = {digest for holder in self.holders for digest in await holder(digests)} if digests else set()
        finally:
            self._drops.remove(used)
        leaving = set(digests) - held - used - self._leases.held(digests) - self._leaving.keys()
        # No turn of the loop until here: whoever wants one of these from now on waits, and finds it gone.
        gone = asyncio.Event()
        self._leaving.update(dict.fromkeys(leaving, gone))
        try:
            for forget in self.forgetters if leaving else ():
                await forget(leaving)
            return await asyncio.shield(asyncio.to_thread(self._remove, sorted(leaving)))
        finally:
            for digest in leaving:
                del self._leaving[digest]
            gone.set()

    async def folders(self) -> list[str]:
        """The folders that hold blobs, for `listed`."""
        return await asyncio.to_thread(self._blobs.folders)

    async def listed(self, folder: str) -> list[BlobInfo]:
        """The files of a folder."""
        return await asyncio.to_thread(self._blobs.listed, folder)

    def upload(self, digest: str) -> Upload:
        """A blob that arrives in pieces.

        `async with store.upload(digest) as up: await up.write(chunk); await up.commit()`

        Raises:
            RequestError: INVALID_ARGUMENT, DIGEST_INVALID.
        """
        return Upload(self._blobs, digest, self._leased, self._touch)

    async def sweep(self, *, older_than: float = 86400.0) -> int:
        """Remove what killed uploads left behind more than `older_than` seconds ago; gives how many there were."""
        self._leases.expire()
        return await asyncio.to_thread(self._blobs.sweep, self._clock() - older_than)

    async def _lease(self, digests: Collection[str]) -> set[str]:
        """Keep blobs from being dropped, once those that are on their way out have gone; gives the new leases."""
        new = self._leases.take(digests)
        for gone in {self._leaving[digest] for digest in digests if digest in self._leaving}:
            await gone.wait()
        return new

    @asynccontextmanager
    async def _leased(self, digest: str) -> AsyncIterator[None]:
        """Within it a blob arrives; the lease stays if it did."""
        new = await self._lease([digest])
        try:
            yield
        except BaseException as error:
            self._leases.release(new)
            if isinstance(error, StorageFullError):
                self.room.found_none()
            raise

    def _touch(self, digests: Collection[str]) -> None:
        moment = self._clock()
        for digest in digests:
            self._blobs.touch(self._blobs.path(digest), moment)

    def _size(self, digest: str) -> int:
        with suppress(FileNotFoundError):
            return self._blobs.size(self._blobs.path(digest))
        return 0

    def _remove(self, digests: Collection[str]) -> int:
        freed = sum(map(self._size, digests))
        for digest in digests:
            self._blobs.remove(self._blobs.path(digest))
        return freed

    async def _found(self, digest: str, action: Callable[[str], T]) -> T:
        path = self._blobs.path(digest)
        try:
            return await asyncio.to_thread(action, path)
        except FileNotFoundError:
            raise content_not_found(digest) from None


class Upload:
    """One blob on its way in; what was not committed when the `async with` block ends is gone."""

    def __init__(self, blobs: Blobs, digest: str, leased: Leased, touch: Callable[[Collection[str]], None]) -> None:
        self._blobs = blobs
        self._digest = digest
        self._leased = leased
        self._touch = touch
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
            RequestError: INVALID_ARGUMENT, CONTENT_TOO_LARGE; RESOURCE_EXHAUSTED, STORAGE_FULL.
        """
        self._blobs.check_size(self.size_bytes + len(chunk))
        self.size_bytes += len(chunk)
        await asyncio.to_thread(self._write, chunk)

    async def commit(self) -> str:
        """Keep the blob; gives its digest.

        Raises:
            RequestError: INVALID_ARGUMENT, DIGEST_MISMATCH; RESOURCE_EXHAUSTED, STORAGE_FULL; nothing is kept then.
        """
        async with self._leased(self._digest):
            await asyncio.to_thread(self._commit)
        return self._digest

    def _write(self, chunk: bytes) -> None:
        with self._lock, needs_room():
            self._open()
            self._hash.update(chunk)
            self._file.write(chunk)

    def _open(self) -> None:
        if self._file is None:
            self._temporary = self._blobs.temporary()
            self._file = self._blobs.create(self._temporary)

    def _commit(self) -> None:
        with self._lock:
            with needs_room():
                self._open()
                self._file.close()
            actual = f"sha256:{self._hash.hexdigest()}"
            if actual != self._digest:
                raise mismatch(self._digest, actual)
            self._blobs.rename(self._temporary, self._path)
            self._touch([self._digest])

    def _abort(self) -> None:
        with self._lock:
            if self._file is not None:
                with suppress(OSError):  # no room for what it still holds: it is thrown away
                    self._file.close()
                self._blobs.remove(self._temporary)


def content_not_found(digest: str) -> RequestError:
    """The refusal for a blob that is not here, or that is somebody else's: the two look alike."""
    return RequestError.of(
        "NOT_FOUND",
        "CONTENT_NOT_FOUND",
        f"no content {digest}; send it with ContentService.Upload first",
        metadata={"digest": digest},
    )
