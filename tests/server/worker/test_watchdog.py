"""A step that breaks a limit is ended where it is, and costs its own run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from convscope_sdk.events import Event, Progress, Text
from convscope_sdk.loader import BUILTIN_PACKAGE
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_server.engine.messages import Overgrown, Stalled, Unfit
from convscope_server.runs import events as log
from convscope_server.worker.faults import spoils_device
from convscope_server.worker.memory import Memory
from convscope_server.worker.recorder import _MOST_RESULTS
from convscope_server.worker.watchdog import Watchdog
from support.workshop import Bench


@technique("quiet")
def quiet(run: Run[Params]) -> Iterator[Event]:
    """Takes three steps."""
    for step in range(1, 4):
        yield Progress(step, 3)


@technique("spin", stall_seconds=0.2)
def spin(run: Run[Params]) -> Iterator[Event]:
    """Never comes back."""
    yield Progress(1)
    while True:
        time.sleep(0)


@technique("late", stall_seconds=0.2)
def late(run: Run[Params]) -> Iterator[Event]:
    """Catches what should end it, and goes on as if nothing had been."""
    with contextlib.suppress(BaseException):
        while True:
            time.sleep(0)
    yield Text("words", "done all the same")


@technique("stuck", stall_seconds=0.2)
def stuck(run: Run[Params]) -> Iterator[Event]:
    """Never comes back from its finally block."""
    try:
        yield Progress(1)
        raise RuntimeError
    finally:
        while True:
            time.sleep(0)


@technique("hoard")
def hoard(run: Run[Params]) -> Iterator[Event]:
    """Takes ever more memory within a step."""
    kept = []
    yield Progress(1)
    while True:
        kept.append(torch.ones(1 << 18))


@technique("creep")
def creep(run: Run[Params]) -> Iterator[Event]:
    """Takes ever more memory from step to step."""
    kept = []
    for step in range(1, 10_000):
        kept.append(torch.ones(1 << 20))
        yield Progress(step)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (spin, "STEP_STALLED"),
        (late, "STEP_STALLED"),
        (stuck, "STEP_STALLED"),
        (hoard, "RUN_MEMORY_EXCEEDED"),
        (creep, "RUN_MEMORY_EXCEEDED"),
    ],
    ids=lambda value: getattr(value, "id", value),
)
@pytest.mark.parametrize("shared", [False, True])
def test_what_breaks_a_limit_is_ended_and_the_run_beside_it_is_not(bad: object, reason: str, shared: bool) -> None:
    bench = Bench(bad, quiet, shared=shared, max_run_memory_bytes=96 << 20)
    bench.start("bad", bad.id)  # type: ignore[attr-defined]
    bench.start("good", "quiet")
    bench.work()
    error = bench.error("bad")
    assert error.reason == reason
    assert error.metadata["package"] == "test-plugin"
    assert error.metadata["version"] == "1.0"
    assert error.metadata["reference"] in error.message
    assert isinstance(bench.end("good"), log.Succeeded)
    assert not [r for r in bench.reports if isinstance(r, Stalled | Overgrown)]


def test_memory_that_an_earlier_run_gave_back_counts_against_nobody() -> None:
    @technique("big")
    def big(run: Run[Params]) -> Iterator[Event]:
        """Takes much, and lets it go."""
        kept = [torch.ones(10 << 20)]
        yield Progress(1)
        kept.clear()
        yield Progress(2)

    bench = Bench(big, max_run_memory_bytes=96 << 20)
    for number in range(6):
        bench.start(str(number), "big")
    bench.work()
    assert all(isinstance(bench.end(str(number)), log.Succeeded) for number in range(6))


def waiting(seconds: float) -> threading.Thread:
    thread = threading.Thread(target=time.sleep, args=(seconds,), name="left-behind", daemon=True)
    thread.start()
    return thread


@technique("leaves_thread")
def leaves_thread(run: Run[Params]) -> Iterator[Event]:
    """Leaves a thread running."""
    waiting(60)
    yield Progress(1)


@technique("joins_thread")
def joins_thread(run: Run[Params]) -> Iterator[Event]:
    """Has a thread beside its steps, and ends it."""
    thread = waiting(0.5)
    yield Progress(1)
    thread.join()


def test_a_thread_left_running_fails_its_run_by_name() -> None:
    bench = Bench(leaves_thread, joins_thread)
    bench.start("left", "leaves_thread")
    bench.start("joined", "joins_thread")
    bench.work()
    assert bench.error("left").reason == "TECHNIQUE_LEAKED"
    assert "left-behind" in bench.error("left").metadata["leaks"]
    assert isinstance(bench.end("joined"), log.Succeeded)


@pytest.mark.parametrize("options", [{"shared": True}, {"package": BUILTIN_PACKAGE}])
def test_threads_of_a_process_that_others_use_are_not_looked_at(options: dict[str, Any]) -> None:
    bench = Bench(leaves_thread, **options)
    bench.start("left", "leaves_thread")
    bench.work()
    assert isinstance(bench.end("left"), log.Succeeded)


def test_a_flood_of_progress_is_thinned_and_its_last_arrives() -> None:
    @technique("busy")
    def busy(run: Run[Params]) -> Iterator[Event]:
        """Tells of every one of many steps."""
        for step in range(1, 3001):
            yield Progress(step, 3000)

    bench = Bench(busy)
    bench.start("a", "busy")
    bench.work()
    steps = [e.step for e in bench.log("a") if isinstance(e, log.Progress)]
    assert len(steps) < 1500
    assert steps[-1] == 3000
    assert steps == sorted(steps)


def test_results_without_end_fail_the_run() -> None:
    @technique("chatty")
    def chatty(run: Run[Params]) -> Iterator[Event]:
        """Never stops to make results."""
        number = 0
        while True:
            number += 1
            yield Text(str(number), "word")

    bench = Bench(chatty)
    bench.start("a", "chatty")
    bench.work()
    assert bench.error("a").reason == "TECHNIQUE_FAILED"
    assert sum(isinstance(e, log.Result) for e in bench.log("a")) == _MOST_RESULTS


def test_a_device_on_which_nothing_works_any_more_is_given_up() -> None:
    @technique("asserts")
    def asserts(run: Run[Params]) -> Iterator[Event]:
        """Breaks a GPU's context."""
        yield Progress(1)
        raise RuntimeError("CUDA error: device-side assert triggered")

    bench = Bench(asserts)
    bench.start("a", "asserts")
    bench.work()
    assert [r for r in bench.reports if isinstance(r, Unfit)] == [Unfit()]
    assert not spoils_device(RuntimeError("CUDA error: out of memory"))
    assert not spoils_device(ValueError("CUDA error"))


def test_what_the_server_does_for_a_step_is_neither_timed_nor_measured() -> None:
    sent: list[object] = []
    watchdog = Watchdog(sent.append, Memory("cpu"), 64 << 20)
    watchdog.start()
    with watchdog.watching("a", 0.3, 0), watchdog.interruptible():
        with watchdog.not_counting():
            time.sleep(0.5)
            kept = torch.ones(32 << 20)
        time.sleep(0.1)
        assert watchdog.verdict is None
        assert watchdog.grown < 64 << 20
    watchdog.stop()
    del kept
    assert sent == []
