"""A connection that died without a word."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from convscope import ConnectionLost, _transport, aio
from convscope.testing import FakeServer, progress
from convscope.v1.run_pb2 import RunEvent
from support.frozen_proxy import frozen_proxy
from support.grpc_fake import serving


def test_the_channel_notices_a_silent_server_within_45_seconds() -> None:
    options = dict(_transport._OPTIONS)
    assert options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"] <= 45_000


def test_a_stream_that_fell_silent_is_given_up_and_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"grpc.keepalive_time_ms": 300, "grpc.keepalive_timeout_ms": 300, "grpc.http2.ping_timeout_ms": 300}
    monkeypatch.setattr(_transport, "_OPTIONS", tuple({**dict(_transport._OPTIONS), **quick}.items()))
    over = threading.Event()

    def silent(_request: object) -> Iterator[RunEvent]:
        yield progress(1, 100)
        over.wait(30)

    fake = FakeServer()
    fake.add_technique("silent", silent)

    async def watch() -> float:
        with serving(fake) as port:
            async with (
                frozen_proxy(f"127.0.0.1:{port}") as proxy,
                aio.connect(proxy.address, give_up_after=1) as client,
            ):
                run = await client.visualize("silent")
                while (await anext(run)).kind != "progress":
                    pass
                proxy.freeze()
                began = time.monotonic()
                with pytest.raises(ConnectionLost):
                    await run.result()
                over.set()
                return time.monotonic() - began

    assert asyncio.run(asyncio.wait_for(watch(), 30)) < 25
