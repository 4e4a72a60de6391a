"""ContentService: images and large results by digest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from convscope.v1 import content_service_pb2 as pb
from convscope_server.api.fields import check_digest
from convscope_server.api.holdings import Holdings
from convscope_server.api.violations import Violations
from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore

__all__ = ["ContentServicer"]

_MAX_DIGESTS = 1000
_MAX_CHUNK = 2**20
# A broken download goes on after the last whole message: over a bad network small ones waste less.
_DOWNLOAD_CHUNK = 2**18


@dataclass(slots=True)
class ContentServicer:
    """Moves bytes in and out of the content store; to each principal it shows what is theirs."""

    content: ContentStore
    holdings: Holdings

    async def find_missing(self, request: pb.FindMissingRequest) -> pb.FindMissingResponse:
        """Which digests the server does not have."""
        violations = Violations()
        count = len(request.digests)
        violations.check(count <= _MAX_DIGESTS, "digests", f"given {count:,}; allowed: {_MAX_DIGESTS:,}")
        for index, digest in enumerate(request.digests[:_MAX_DIGESTS]):
            check_digest(digest, f"digests.{index}", violations)
        violations.refuse_any()
        missing = await self.content.missing(request.digests)
        theirs = await self.holdings.within_reach(request.digests)
        return pb.FindMissingResponse(
            digests=[d for d in dict.fromkeys(request.digests) if d in missing or d not in theirs]
        )

    async def upload(self, requests: AsyncIterator[pb.UploadRequest]) -> pb.UploadResponse:
        """One file in chunks; nothing is kept unless all of it arrived and has the digest."""
        first = await anext(aiter(requests), pb.UploadRequest())
        _check_upload(first)
        await self.holdings.check_room()
        await self.content.room.check()
        async with self.content.upload(first.digest) as upload:
            await upload.write(first.chunk)
            async for request in requests:
                _check_chunk(request)
                await upload.write(request.chunk)
            digest = await upload.commit()
            await self.holdings.add(digest, upload.size_bytes)
            return pb.UploadResponse(digest=digest, size_bytes=upload.size_bytes)

    async def download(self, request: pb.DownloadRequest) -> AsyncIterator[pb.DownloadResponse]:
        """One file in chunks from an offset; at least one message, so that its length is always told."""
        violations = Violations()
        check_digest(request.digest, "digest", violations)
        violations.check(request.offset >= 0, "offset", f"given {request.offset}; allowed: 0 or more")
        violations.refuse_any()
        await self.holdings.check(request.digest)
        size = await self.content.size(request.digest)
        if request.offset > size:
            raise RequestError.invalid(
                "OFFSET_INVALID", [("offset", f"given {request.offset:,}; the file ends at {size:,} bytes")]
            )
        for offset in range(request.offset, max(size, request.offset + 1), _DOWNLOAD_CHUNK):
            yield pb.DownloadResponse(
                chunk=await self.content.read(request.digest, offset, _DOWNLOAD_CHUNK), size_bytes=size
            )


def _check_upload(first: pb.UploadRequest) -> None:
    violations = Violations()
    check_digest(first.digest, "digest", violations)
    violations.refuse_any()
    _check_chunk(first)


def _check_chunk(request: pb.UploadRequest) -> None:
    size = len(request.chunk)
    if size > _MAX_CHUNK:
        what = f"has {size:,} bytes; allowed: {_MAX_CHUNK:,} a message"
        raise RequestError.invalid("CHUNK_TOO_LARGE", [("chunk", what)])
