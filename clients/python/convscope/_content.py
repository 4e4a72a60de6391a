"""Files by the SHA-256 of their bytes, in chunks: what to send along, what to upload, what came down."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from convscope import _methods, _wire
from convscope._reconnect import Backoff, is_broken_connection
from convscope._transport import Transport
from convscope.errors import ConvscopeError, Internal
from convscope.images import ImageLike, encode_image, is_digest
from convscope.v1 import content_service_pb2

__all__ = [
    "PATIENCE",
    "Download",
    "Parcel",
    "deliver",
    "digest_of",
    "fetch",
    "pack",
    "patience",
    "send",
    "upload_requests",
]

CHUNK_BYTES = 1 << 20
INLINE_BYTES = 2 << 20
# All pictures of a request together, so that it stays below the 4 MiB that a message may have.
_MESSAGE_BYTES = 3 << 20
PATIENCE = 60.0
"""Seconds without a sign of life after which an upload is given up."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """The pictures of a request by role, and the files to be uploaded before it is sent, by digest."""

    images: Mapping[str, _wire.Image]
    uploads: Mapping[str, bytes]


def digest_of(content: bytes) -> str:
    """The name of a file on the server: "sha256:" and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def pack(images: Mapping[str, ImageLike]) -> Parcel:
    """Small pictures go in the request; large ones, and what no longer fits, are named by digest.

    Raises:
        InvalidArgument: something cannot be read as a picture.
    """
    packed: dict[str, _wire.Image] = {}
    uploads: dict[str, bytes] = {}
    room = _MESSAGE_BYTES
    for role, image in images.items():
        if isinstance(image, str) and is_digest(image):
            packed[role] = _wire.Image(digest=image)
            continue
        content = encode_image(image)
        if len(content) <= min(INLINE_BYTES, room):
            packed[role] = _wire.Image(encoded=content)
            room -= len(content)
        else:
            digest = digest_of(content)
            packed[role] = _wire.Image(digest=digest)
            uploads[digest] = content
    return Parcel(packed, uploads)


def upload_requests(digest: str, content: bytes) -> Iterator[content_service_pb2.UploadRequest]:
    """The file in chunks of 1 MiB; an empty file is one empty chunk."""
    for start in range(0, max(len(content), 1), CHUNK_BYTES):
        chunk = content[start : start + CHUNK_BYTES]
        yield content_service_pb2.UploadRequest(digest="" if start else digest, chunk=chunk)


class Download:
    """A file on its way down. A broken stream goes on at the next byte: `request` says from where."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self._content = bytearray()

    @property
    def request(self) -> content_service_pb2.DownloadRequest:
        """The call for what is still missing."""
        return content_service_pb2.DownloadRequest(digest=self.digest, offset=len(self._content))

    def add(self, message: content_service_pb2.DownloadResponse) -> None:
        """Take in the next chunk."""
        self._content += message.chunk

    def content(self) -> bytes:
        """The whole file.

        Raises:
            Internal: what came is not what the digest names.
        """
        content = bytes(self._content)
        if digest_of(content) != self.digest:
            raise Internal(
                f"the server sent {len(content)} bytes that are not {self.digest}; ask again, and report it",
                reason="DIGEST_MISMATCH",
            )
        return content


def deliver(transport: Transport, uploads: Mapping[str, bytes]) -> None:
    """Upload the files that the server does not have."""
    if uploads:
        request = content_service_pb2.FindMissingRequest(digests=uploads)
        for digest in transport.unary(_methods.FIND_MISSING, request).digests:
            send(transport, digest, uploads[digest], Backoff(PATIENCE))


def send(transport: Transport, digest: str, content: bytes, backoff: Backoff) -> None:
    """Upload a file, from its beginning through as many broken connections as `backoff` bears.

    Raises:
        ConvscopeError: the server does not take it, or cannot be reached any more.
    """
    while True:
        try:
            transport.upload(_methods.UPLOAD, upload_requests(digest, content))
        except ConvscopeError as error:
            time.sleep(patience(error, backoff))
        else:
            backoff.alive()
            return


def fetch(transport: Transport, digest: str, backoff: Backoff) -> bytes:
    """The file of that digest, through as many broken streams as `backoff` bears.

    Raises:
        ConvscopeError: the server does not have it, or cannot be reached any more.
    """
    download = Download(digest)
    while True:
        try:
            for message in transport.stream(_methods.DOWNLOAD, download.request):
                download.add(message)
                backoff.alive()
            return download.content()
        except ConvscopeError as error:
            time.sleep(patience(error, backoff))


def patience(error: ConvscopeError, backoff: Backoff) -> float:
    """Seconds to wait before a transfer goes on; raises the error where going on cannot help."""
    wait = backoff.wait(time.monotonic()) if is_broken_connection(error) else None
    if wait is None:
        raise error
    return wait
