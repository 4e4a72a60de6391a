"""Runs for which the device has too little memory: told, tried once more, and at an end."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from pydantic import Field

from convscope_sdk.events import Event, Progress, Scores
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_server.engine.messages import Attained, Models, OutOfMemory
from convscope_server.runs import events as log
from support.workshop import Bench


@technique("greedy")
def greedy(run: Run[Params]) -> Iterator[Event]:
    """Wants a petabyte."""
    torch.empty(2**50)
    yield Progress(1)


@technique("patient")
def patient(run: Run[Params]) -> Iterator[Event]:
    """Takes its time."""
    for step in range(1, 61):
        time.sleep(0.01)
        yield Progress(step, 60)


def test_out_of_memory_beside_others_is_no_end_at_first() -> None:
    bench = Bench(greedy, patient)
    bench.start("a", "greedy")
    bench.start("b", "patient")
    bench.work()
    assert [report.run for report in bench.reports if isinstance(report, OutOfMemory)] == ["a"]
    assert isinstance(bench.end("b"), log.Succeeded)


def test_out_of_memory_says_how_much_and_where_and_the_worker_lives_on() -> None:
    bench = Bench(greedy, patient)
    bench.start("a", "greedy", thrift=4)
    bench.start("b", "patient")
    bench.work()
    error = bench.error("a")
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY")
    assert "cpu" in error.message
    assert "4503599627370496 bytes" in error.message
    assert isinstance(bench.end("b"), log.Succeeded)


class Batch(Params):
    batch: int | None = Field(None, ge=1, description="Pictures at once.")


@technique("wide")
def wide(run: Run[Batch]) -> Iterator[Event]:
    """Takes eight pictures at once, where there is memory for two."""
    batch = run.inner_batch(run.params.batch or 8)
    yield Progress(1, 2, {"batch": batch})
    if batch > 2:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    yield Scores({"batch": batch})


def test_a_run_whose_inner_batch_finds_no_memory_leaves_once_without_an_end() -> None:
    bench = Bench(wide)
    bench.start("a", "wide")
    bench.work()
    assert [report.run for report in bench.reports if isinstance(report, OutOfMemory)] == ["a"]
    assert [type(event) for event in bench.log("a")] == [log.Started, log.Progress]
    assert isinstance(bench.reports[-1], Models | OutOfMemory)
    assert bench.cache.users == 0


def test_started_again_with_thrift_it_ends_well_or_for_good() -> None:
    bench = Bench(wide)
    bench.start("a", "wide", thrift=4)
    bench.start("b", "wide", thrift=4, params={"batch": 64})
    bench.work()
    end = bench.end("a")
    assert isinstance(end, log.Succeeded)
    assert end.report.scores == {"batch": 2.0}
    assert (bench.error("b").code, bench.error("b").reason) == ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY")


def test_what_its_steps_take_of_memory_is_told() -> None:
    bench = Bench(hungry)
    bench.start("a", "hungry")
    bench.work()
    last = [report for report in bench.reports if isinstance(report, Attained)][-1]
    assert last.held_bytes >= 48 << 20
    assert last.peak_bytes >= 96 << 20


@technique("hungry")
def hungry(run: Run[Params]) -> Iterator[Event]:
    """Holds 64 MiB, and another 64 MiB for the time of a step."""
    mine = torch.ones(16 << 20)
    yield Progress(1, 2)
    passing = torch.ones(16 << 20)
    time.sleep(0.2)  # until the watchdog has looked
    yield Progress(2, 2, {"sum": float(mine[0] + passing[0])})
