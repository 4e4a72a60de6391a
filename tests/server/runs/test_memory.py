"""Runs that find no memory: before they start, and in a step."""

from __future__ import annotations

import pytest

from convscope_server.runs import dispatcher
from convscope_server.runs.events import Note, Queued, Report, Started, Succeeded
from convscope_server.runs.run import LoggedEvent
from convscope_server.runs.service import RunService
from support.aio import eventually, in_loop
from support.fake_engine import LOST, FakeEngine
from support.run_house import kinds, request, run_service, watched

DONE = Succeeded(Report())


def engine_with_large() -> FakeEngine:
    engine = FakeEngine()
    engine.large.add("large")
    return engine


async def started(service: RunService, engine: FakeEngine, technique: str) -> str:
    run = (await service.submit(request(technique=technique))).id
    await eventually(lambda: run in engine.runs)
    return run


@in_loop
async def test_what_does_not_fit_beside_others_waits_while_smaller_ones_pass_and_is_told() -> None:
    engine = engine_with_large()
    async with run_service(engine) as service:
        first = await started(service, engine, "small")
        large = (await service.submit(request(technique="large"))).id
        second = await started(service, engine, "small")
        service._live.positions.tell()  # not in two seconds, but now
        for run in (first, second):
            assert large not in engine.runs
            engine.emit(run, Started("cpu"), DONE)
        await eventually(lambda: large in engine.runs)
        engine.emit(large, Started("cpu"), DONE)
        events = [item.event for item in await watched(service, large) if isinstance(item, LoggedEvent)]
        assert [event.for_memory for event in events if isinstance(event, Queued)] == [False, True]
        assert events[-1] == DONE


@in_loop
async def test_after_a_while_nobody_passes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "_PATIENCE", 0.0)
    engine = engine_with_large()
    async with run_service(engine) as service:
        first = await started(service, engine, "small")
        large = (await service.submit(request(technique="large"))).id
        waits = (await service.submit(request(technique="small"))).id
        other_lane = await started(service, engine, "lane.small")
        engine.emit(other_lane, Started("cpu"), DONE)
        await watched(service, other_lane)
        assert waits not in engine.runs
        engine.emit(first, Started("cpu"), DONE)
        await eventually(lambda: waits in engine.runs)
        assert [spec.id for spec in engine.started][-2:] == [large, waits]


@in_loop
async def test_a_run_that_runs_out_of_memory_starts_again_with_smaller_batches_and_a_note() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        run = await started(service, engine, "rise")
        engine.emit(run, Started("cuda:0", 1))
        engine.run_out(run)
        await eventually(lambda: run in engine.runs)
        assert [(spec.attempt, spec.thrift) for spec in engine.started] == [(1, 1), (2, 4)]
        engine.emit(run, Started("cuda:0", 2), DONE)
        items = await watched(service, run)
        assert kinds(items) == ["Accepted", "Queued", "Started", "Note", "Started", "Succeeded"]
        (note,) = (item.event for item in items if isinstance(item, LoggedEvent) and isinstance(item.event, Note))
        assert "out of memory" in note.text
        assert "4 times smaller" in note.text


@in_loop
async def test_a_cancelled_run_that_runs_out_of_memory_is_cancelled() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        run = await started(service, engine, "rise")
        engine.cancel = lambda *_: True  # type: ignore[method-assign]  # a worker that is in the middle of the step
        await service.cancel(run)
        engine.run_out(run)
        assert kinds(await watched(service, run)) == ["Accepted", "Queued", "Cancelled"]


@in_loop
async def test_starting_again_for_memory_leaves_the_restarts_that_were_asked_for() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        run = (await service.submit(request(technique="rise", max_restarts=1))).id
        await eventually(lambda: run in engine.runs)
        engine.run_out(run)
        await eventually(lambda: run in engine.runs)
        for again in (True, False):
            engine.lose(run, started=True, error=LOST)
            if again:
                await eventually(lambda: run in engine.runs)
        assert (await watched(service, run))[-1].event.error == LOST  # type: ignore[union-attr]
        assert [spec.thrift for spec in engine.started] == [1, 4, 4]
