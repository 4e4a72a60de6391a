"""Real worker processes, and what happens when they die. Each test starts torch once or twice: some seconds."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from convscope_server.engine.local import LocalEngine
from convscope_server.engine.messages import RunSpec
from convscope_server.engine.options import WorkerOptions
from convscope_server.errors import RequestError
from convscope_server.runs.events import Cancelled, Progress, Succeeded
from support.hostile_plugin import HOSTILE
from support.listening import Listening

MODEL = "tiny"


@asynccontextmanager
async def engine(**options: Any) -> AsyncIterator[tuple[LocalEngine, Listening]]:
    settings: dict[str, Any] = {"devices": ("cpu",), "plugin_files": (HOSTILE,), "warm_models": (), **options}
    engine = LocalEngine(WorkerOptions(**settings))
    listening = Listening()
    await engine.start(listening)
    try:
        yield engine, listening
    finally:
        await engine.close()


def spec(run: str, technique: str, **params: object) -> RunSpec:
    return RunSpec(run, f"hostile.{technique}", MODEL, params)


async def test_a_worker_says_what_it_offers_and_runs_run() -> None:
    async with engine() as (local, heard):
        assert {"saliency", "deepdream", "hostile.count"} <= set(local.catalog.techniques)
        assert "efficientnet_lite0" in local.catalog.models
        (device,) = local.devices()
        assert (device.name, device.state) == ("cpu", "ready")
        assert device.pid not in (0, os.getpid())
        assert local.try_start(spec("a", "count", steps=5))
        await heard.until(lambda: heard.ended("a"))
        assert isinstance(heard.logs["a"][-1], Succeeded)
        assert [e.step for e in heard.logs["a"] if isinstance(e, Progress)] == [1, 2, 3, 4, 5]
        assert [m.name for m in local.devices()[0].models] == [MODEL]


async def test_cancel_ends_a_run_between_two_steps() -> None:
    async with engine() as (local, heard):
        local.try_start(spec("a", "count", steps=100_000, pause=0.02))
        await heard.until(lambda: any(isinstance(e, Progress) for e in heard.logs["a"]))
        assert local.cancel("a", "requested")
        await heard.until(lambda: heard.ended("a"), seconds=5)
        assert heard.logs["a"][-1] == Cancelled("requested")


TAKES_IT_DOWN = {
    "exit": ("WORKER_LOST", "exited with status 7"),
    "segfault": ("WORKER_LOST", "SIGSEGV"),
    "stall": ("STEP_STALLED", "longer than 1 s"),
    "gorge": ("RUN_MEMORY_EXCEEDED", "may take 128"),
}


async def test_a_run_that_takes_its_worker_down_is_blamed_the_one_beside_it_is_not_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One engine for all of them, because each start of torch takes seconds."""
    async with engine(max_run_memory_bytes=128 << 20) as (local, heard):
        for restarts, (technique, (reason, words)) in enumerate(TAKES_IT_DOWN.items(), start=1):
            first, beside, after = local.devices()[0].pid, f"beside {technique}", f"after {technique}"
            local.try_start(spec(beside, "count", steps=100_000, pause=0.02))
            await heard.until(lambda beside=beside: any(isinstance(e, Progress) for e in heard.logs[beside]))  # type: ignore[misc]
            local.try_start(spec(technique, technique))
            await heard.until(lambda technique=technique: heard.ended(technique))  # type: ignore[misc]
            started, error = heard.lost[technique]
            assert (started, heard.blame[technique]) == (True, "certain")
            assert error.reason == reason
            assert words in error.message
            assert f"technique hostile.{technique}" in error.message
            assert f"reference {error.metadata['reference']}" in caplog.text
            assert heard.blame[beside] == "none"
            assert f"hostile.{technique}" not in heard.lost[beside][1].message
            await heard.until(lambda: local.ready)
            local.try_start(spec(after, "count"))
            await heard.until(lambda after=after: heard.ended(after))  # type: ignore[misc]
            assert isinstance(heard.logs[after][-1], Succeeded)
            (device,) = local.devices()
            assert device.restarts == restarts
            assert device.pid != first
            assert not psutil.pid_exists(first)
        assert "Fatal Python error: Segmentation fault" in caplog.text


async def test_a_killed_worker_is_replaced_and_only_started_runs_are_hurt() -> None:
    async with engine() as (local, heard):
        local.try_start(spec("a", "count", steps=100_000, pause=0.05))
        await heard.until(lambda: any(isinstance(e, Progress) for e in heard.logs["a"]))
        os.kill(local.devices()[0].pid, signal.SIGKILL)
        await heard.until(lambda: heard.ended("a"))
        assert heard.lost["a"][0]
        assert heard.blame["a"] == "suspected"
        assert "SIGKILL" in heard.lost["a"][1].message
        await heard.until(lambda: local.ready)


async def test_what_plugins_print_goes_to_the_log_and_a_gigabyte_of_it_holds_nobody_up(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "convscope_server.engine.output")
    async with engine() as (local, heard):
        local.try_start(spec("a", "print"))
        await heard.until(lambda: heard.ended("a"))
        local.try_start(spec("beside", "count", steps=5))
        local.try_start(spec("flood", "flood"))
        await heard.until(lambda: heard.ended("flood") and heard.ended("beside"))
        assert isinstance(heard.logs["flood"][-1], Succeeded)
    assert "noise" not in capfd.readouterr().out
    assert "run a: noise" in caplog.text
    assert len(caplog.text) < 1 << 20


async def test_closing_leaves_no_process() -> None:
    async with engine() as (local, heard):
        pid = local.devices()[0].pid
        local.try_start(spec("a", "count", steps=100_000, pause=0.05))
        await heard.until(lambda: bool(heard.logs["a"]))
    assert not psutil.pid_exists(pid)


async def test_an_engine_that_cannot_start_says_why() -> None:
    local = LocalEngine(WorkerOptions(devices=("cpu",), plugin_files=("no-such-file.py",), strict=True))
    with pytest.raises(RequestError, match="exited with status 1"):
        await local.start(Listening())
    await local.close()


async def test_a_worker_ends_with_its_front_end() -> None:
    async with engine() as (local, _):
        (device,) = local.devices()
        worker = psutil.Process(device.pid)
        (keeper,) = local._keepers
        connection = next(iter(c for c in [local._seats[0].link] if c is not None))
        connection._writer.transport.abort()  # type: ignore[attr-defined]
        await asyncio.to_thread(worker.wait, 10)
        assert not keeper.done()
