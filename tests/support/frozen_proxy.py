"""A TCP proxy that can stop forwarding without closing anything, as a network does when a laptop sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["FrozenProxy", "frozen_proxy"]


@dataclass(slots=True)
class FrozenProxy:
    """Forwards while `flowing` is set."""

    upstream: str
    address: str = ""
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def freeze(self) -> None:
        """From now on nothing passes, in either direction, and nobody is told."""
        self.flowing.clear()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self.upstream.rsplit(":", 1)
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        self.writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self.tasks.add(asyncio.create_task(self._forward(source, sink)))

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self.flowing.wait()
            sink.write(data)
            await sink.drain()


@asynccontextmanager
async def frozen_proxy(upstream: str) -> AsyncIterator[FrozenProxy]:
    """A proxy on a free port to `upstream` ("host:port"), flowing at first."""
    proxy = FrozenProxy(upstream)
    proxy.flowing.set()
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy.address = f"{host}:{port}"
    try:
        yield proxy
    finally:
        server.close()
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
        for writer in proxy.writers:
            writer.close()
