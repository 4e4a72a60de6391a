from __future__ import annotations

import logging
import os

import pytest

from convscope_server.allowance import Allowance
from convscope_server.engine.output import WorkerOutput


def output(allowance: Allowance | None = None) -> WorkerOutput:
    return WorkerOutput("cpu", lambda: "17", allowance)


async def test_what_is_printed_goes_to_the_log_line_by_line_with_its_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    heard = output()
    for piece in (b"one\ntw", b"o\nthr", b"ee"):
        heard.data_received(piece)
    heard.connection_lost(None)
    assert caplog.messages == [f"worker of cpu, run 17: {line}" for line in ("one", "two", "three")]


async def test_a_flood_is_counted_and_dropped_and_its_end_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    heard = output(Allowance(100, 1, lambda: now))
    heard.data_received(b"first\n")
    for _ in range(1000):
        heard.data_received(b"x" * 1000)
    now = 1000.0
    heard.data_received(b"\nthe last words")
    assert len(caplog.messages) == 2
    assert "1000000 bytes too many" in caplog.messages[1]
    assert heard.tail.endswith("the last words")
    assert len(heard.tail) <= 8192


async def test_a_line_without_end_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    heard = output()
    heard.data_received(b"y" * 10_000)
    assert len(caplog.messages[0]) < 4200


async def test_a_pipe_is_read_to_its_end_and_closed() -> None:
    reading, writing = os.pipe()
    heard = await WorkerOutput.reading(reading, "cpu", lambda: "")
    os.write(writing, b"\xff bytes that are no text\n")
    os.close(writing)
    await heard.ended
    assert "no text" in heard.tail
