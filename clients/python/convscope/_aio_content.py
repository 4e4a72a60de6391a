"""Files to and from the server, for an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from convscope import _methods
from convscope._content import PATIENCE, Download, patience, upload_requests
from convscope._reconnect import Backoff
from convscope._transport import AsyncTransport
from convscope.errors import ConvscopeError

__all__ = ["deliver", "fetch", "send"]


async def deliver(transport: AsyncTransport, uploads: Mapping[str, bytes]) -> None:
    """Upload the files that the server does not have."""
    if uploads:
        request = _methods.FIND_MISSING.request(digests=uploads)
        missing = await transport.unary(_methods.FIND_MISSING, request)
        for digest in missing.digests:
            await send(transport, digest, uploads[digest], Backoff(PATIENCE))


async def send(transport: AsyncTransport, digest: str, content: bytes, backoff: Backoff) -> None:
    """Upload a file, from its beginning through as many broken connections as `backoff` bears.

    Raises:
        ConvscopeError: the server does not take it, or cannot be reached any more.
    """
    while True:
        try:
            await transport.upload(_methods.UPLOAD, upload_requests(digest, content))
        except ConvscopeError as error:
            await asyncio.sleep(patience(error, backoff))
        else:
            backoff.alive()
            return


async def fetch(transport: AsyncTransport, digest: str, backoff: Backoff) -> bytes:
    """The file of that digest, through as many broken streams as `backoff` bears.

    Raises:
        ConvscopeError: the server does not have it, or cannot be reached any more.
    """
    download = Download(digest)
    while True:
        try:
            async for message in transport.stream(_methods.DOWNLOAD, download.request):
                download.add(message)
                backoff.alive()
            return download.content()
        except ConvscopeError as error:
            await asyncio.sleep(patience(error, backoff))
