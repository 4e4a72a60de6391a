"""The image sets of a server, for an event loop."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Mapping, Sequence

from convscope import _methods, _wire_catalog
from convscope._aio_content import deliver, send
from convscope._bundle import Bundle, Pictures, Progress
from convscope._content import digest_of, patience
from convscope._reconnect import Backoff
from convscope._transport import AsyncTransport
from convscope.catalog import ImageSetInfo
from convscope.errors import ConvscopeError

__all__ = ["AsyncImageSets"]


class AsyncImageSets:
    """`convscope.image_sets.ImageSets`, to be awaited. Files are read in threads."""

    def __init__(self, transport: AsyncTransport, *, give_up_after: float = 300.0) -> None:
        self._transport = transport
        self._give_up_after = give_up_after

    async def create(
        self,
        name: str,
        pictures: Pictures,
        *,
        labels: Mapping[str, Mapping[str, str]] | None = None,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> ImageSetInfo:
        """Make a set of your own pictures; only what the server does not have is sent."""
        bundle = await asyncio.to_thread(Bundle, pictures, labels)
        tell = progress or _nobody
        done = 0
        for digests in bundle.groups():
            backoff = Backoff(self._give_up_after)
            missing = await self._missing(digests, backoff)
            tell(done := done + len(digests) - len(missing), len(bundle))
            for digest in missing:
                await send(self._transport, digest, await asyncio.to_thread(bundle.content, digest), backoff)
                tell(done := done + 1, len(bundle))
        manifest = digest_of(bundle.manifest)
        await deliver(self._transport, {manifest: bundle.manifest})
        request = _methods.CREATE_IMAGE_SET.request(name=name, manifest=manifest, replace=replace)
        return _wire_catalog.image_set((await self._transport.unary(_methods.CREATE_IMAGE_SET, request)).image_set)

    async def list(self) -> builtins.list[ImageSetInfo]:
        """Every set with a name. Sources may resolve more ("torchvision:CIFAR10")."""
        response = await self._transport.unary(_methods.LIST_IMAGE_SETS, _methods.LIST_IMAGE_SETS.request())
        return [_wire_catalog.image_set(item) for item in response.image_sets]

    async def get(self, name: str) -> ImageSetInfo:
        """One set, with the number of its pictures and their labels."""
        response = await self._transport.unary(_methods.GET_IMAGE_SET, _methods.GET_IMAGE_SET.request(name=name))
        return _wire_catalog.image_set(response.image_set)

    async def delete(self, name: str) -> None:
        """Forget a set that was made with `create`, and those of its pictures that nothing else needs."""
        await self._transport.unary(_methods.DELETE_IMAGE_SET, _methods.DELETE_IMAGE_SET.request(name=name))

    async def _missing(self, digests: Sequence[str], backoff: Backoff) -> builtins.list[str]:
        request = _methods.FIND_MISSING.request(digests=digests)
        while True:
            try:
                return [*(await self._transport.unary(_methods.FIND_MISSING, request)).digests]
            except ConvscopeError as error:
                await asyncio.sleep(patience(error, backoff))


def _nobody(_done: int, _total: int) -> None:
    """Nobody wants to know."""
