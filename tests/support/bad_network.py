"""A TCP proxy that is a bad network: connections are reset in the middle of a frame or fall silent, bytes come late.

It runs on a thread and an event loop of its own, so that clients of every kind can sit in front of it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["BadNetwork", "Fate", "bad_network"]

_LOSS = 0.01
_PACKET = 1448
_RETRANSMISSION = 0.2
_PIECE = 2**17
_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Fate:
    """What befalls one connection.

    Attributes:
        after: Bytes from the server until it is cut; never where None.
        how: "reset" ends both halves with RST, wherever in a frame that is; "silence" forwards nothing any more, in
            either direction, and closes nothing.
        jitter: Longest delay of a piece, seconds.
        loss: Whether one packet in a hundred comes as late as TCP would need to send it again.
    """

    after: int | None = None
    how: Literal["reset", "silence"] = "reset"
    jitter: float = 0.0
    loss: bool = False


@dataclass(slots=True)
class BadNetwork:
    """Forwards to `upstream` ("host:port"); `fate` is asked for each connection.

    Attributes:
        address: Where clients connect.
        cuts: How many connections were cut so far, by how.
    """

    upstream: str
    fate: Callable[[random.Random], Fate]
    dice: random.Random
    address: str = ""
    cuts: Counter[str] = field(default_factory=Counter)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, ready: Callable[[asyncio.AbstractEventLoop, asyncio.Event], None]) -> None:
        """Forward until the event that `ready` gets is set."""
        stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        ready(asyncio.get_running_loop(), stop)
        await stop.wait()
        server.close()
        _reset(*self._writers)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self.upstream.rsplit(":", 1)
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            _reset(writer)
            return
        self._writers += [writer, far_writer]
        fate = self.fate(self.dice)
        up = asyncio.create_task(self._forward(reader, far_writer, fate, None))
        down = asyncio.create_task(self._forward(far_reader, writer, fate, fate.after))
        with suppress(asyncio.CancelledError):
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        cut = down.done() and down.result()
        up.cancel()
        down.cancel()
        if cut:
            self.cuts[fate.how] += 1
        if not cut or fate.how == "reset":
            _reset(writer, far_writer)

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, fate: Fate, left: int | None
    ) -> bool:
        """Bytes from one to the other; gives whether it ended because `left` bytes had passed."""
        with suppress(ConnectionError):
            while data := await source.read(_PIECE):
                if delay := self._delay(fate, len(data)):
                    await asyncio.sleep(delay)
                sink.write(data[:left])
                await sink.drain()
                if left is not None and (left := left - len(data)) <= 0:
                    return True
        return False

    def _delay(self, fate: Fate, size: int) -> float:
        lost = fate.loss and self.dice.random() > (1 - _LOSS) ** -(-size // _PACKET)
        return self.dice.uniform(0, fate.jitter) + (_RETRANSMISSION if lost else 0.0)


@contextmanager
def bad_network(upstream: str, fate: Callable[[random.Random], Fate], *, seed: int = 0) -> Iterator[BadNetwork]:
    """A bad network on a free port of this machine."""
    network = BadNetwork(upstream, fate, random.Random(seed))
    end: list[Callable[[], object]] = []
    begun = threading.Event()

    def ready(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        end.append(lambda: loop.call_soon_threadsafe(stop.set))
        begun.set()

    thread = threading.Thread(target=lambda: asyncio.run(network.serve(ready)), name="bad-network")
    thread.start()
    try:
        begun.wait()
        yield network
    finally:
        end[0]()
        thread.join()


def _reset(*writers: asyncio.StreamWriter) -> None:
    """Close sockets so that the other end gets RST, and what was on its way is gone."""
    for writer in writers:
        raw = writer.get_extra_info("socket")
        if raw is not None and not writer.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        writer.transport.abort()
