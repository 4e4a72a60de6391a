"""Identical runs are computed once, whoever joins and leaves, and every log is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_server.engine.engine import Catalog
from convscope_server.engine.messages import ModelInfo, TechniqueInfo
from convscope_server.errors import RequestError
from convscope_server.runs.events import Event, Note, Preview, Progress, Report, Result, Started, Succeeded
from convscope_server.runs.limits import RunLimits
from convscope_server.runs.run import LoggedEvent
from convscope_server.runs.service import RunService
from support.fake_engine import LOST, FakeEngine, artifact, steps
from support.run_house import assert_whole_log, request, run_service, watched

_CATALOG = Catalog(
    {"grad_cam": TechniqueInfo("grad_cam", "", "{}", revision="1")},
    {"tiny": ModelInfo("tiny", "classifier", "folder", version="1")},
)


def engine(**options: Any) -> FakeEngine:
    return FakeEngine(catalog=_CATALOG, **options)


def made(items: Sequence[Any]) -> list[Event]:
    """What the device made, in a log."""
    assert_whole_log(items)
    kinds = Started | Progress | Preview | Result | Succeeded
    return [item.event for item in items if isinstance(item, LoggedEvent) and isinstance(item.event, kinds)]


def notes(items: Sequence[Any]) -> list[str]:
    return [item.event.text for item in items if isinstance(item.event, Note)]


async def submit(service: RunService, **changes: Any) -> str:
    return (await service.submit(request(**changes))).id


async def test_one_that_comes_while_it_is_made_gets_all_of_it() -> None:
    device = engine()
    async with run_service(device) as service:
        first = await submit(service)
        await asyncio.sleep(0)
        device.emit(first, Started("cpu"), Progress(1, 2))
        second = await submit(service, owner="ada", priority="interactive")
        device.emit(first, Progress(2, 2), Result(artifact("map")), Succeeded(Report()))
        one, two = await asyncio.gather(watched(service, first), watched(service, second))
    assert made(one) == made(two)
    assert [spec.id for spec in device.started] == [first]
    assert len(notes(two)) == 1
    assert not notes(one)


async def test_one_that_comes_later_gets_the_log_again() -> None:
    device = engine(script=steps(600))
    async with run_service(device) as service:
        first = await watched(service, await submit(service))
        second = await watched(service, await submit(service), every_preview=True)
        assert (await service.get(second[0].run)).state == "succeeded"
        assert (await service.get(second[0].run)).device_seconds == 0
    assert made(second) == made(first)
    assert len(device.started) == 1


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"params": {"steps": 2}}, {"cache": "bypass"}, {"deadline_seconds": 60}]
)
async def test_others_are_computed(change: dict[str, Any]) -> None:
    device = engine()
    async with run_service(device) as service:
        await submit(service)
        await submit(service, **change)
        await until(lambda: len(device.started) == 2)


async def test_nothing_is_shared_where_the_server_says_so() -> None:
    device = engine()
    async with run_service(device, limits=RunLimits(cache=False)) as service:
        await submit(service)
        await submit(service)
        await until(lambda: len(device.started) == 2)


async def test_a_failed_or_cancelled_run_stands_for_no_other() -> None:
    device = engine()
    async with run_service(device) as service:
        first = await submit(service)
        await until(lambda: len(device.started) == 1)
        await service.cancel(first)
        await watched(service, first)
        await submit(service)
        await until(lambda: len(device.started) == 2)


async def test_only_what_is_made_already_may_be_asked_for() -> None:
    device = engine(script=steps(2))
    async with run_service(device) as service:
        with pytest.raises(RequestError) as refusal:
            await submit(service, cache="only")
        assert (refusal.value.error.code, refusal.value.error.reason) == ("FAILED_PRECONDITION", "NOT_CACHED")
        first = await watched(service, await submit(service))
        assert made(await watched(service, await submit(service, cache="only"))) == made(first)


async def test_a_full_queue_refuses_nobody_whose_picture_is_made() -> None:
    device = engine(capacity=1)
    async with run_service(device, limits=RunLimits(max_queued=1)) as service:
        await submit(service)
        await until(lambda: len(device.started) == 1)
        await submit(service, seed=1)
        with pytest.raises(RequestError):
            await submit(service, seed=2)
        await submit(service, seed=1)


async def test_the_device_stops_when_the_last_of_them_is_cancelled() -> None:
    device = engine()
    async with run_service(device) as service:
        first, second, third = [await submit(service) for _ in range(3)]
        await until(lambda: len(device.started) == 1)
        device.emit(first, Started("cpu"), Progress(1, 9))
        for run in (first, third):
            assert (await service.cancel(run)).state == "cancelled"
            assert not device.cancelled
        device.emit(first, Progress(2, 9))
        await service.cancel(second)
        log = await watched(service, second)
    assert device.cancelled == [(first, "requested")]
    assert made(log) == [Started("cpu"), Progress(1, 9), Progress(2, 9)]


async def test_a_waiting_run_hands_its_turn_over() -> None:
    device = engine(capacity=1)
    async with run_service(device) as service:
        blocker = await submit(service, seed=9)
        first = await submit(service)
        second = await submit(service)
        await service.cancel(first)
        device.emit(blocker, Succeeded(Report()))
        await until(lambda: len(device.started) == 2)
        assert device.started[1].id == second
        device.emit(second, Started("cpu"), Succeeded(Report()))
        assert made(await watched(service, second)) == [Started("cpu"), Succeeded(Report())]


async def test_a_lost_worker_is_told_to_all_and_any_of_them_may_want_another_attempt() -> None:
    device = engine()
    async with run_service(device) as service:
        first = await submit(service)
        second = await submit(service, max_restarts=1)
        await until(lambda: len(device.started) == 1)
        device.emit(first, Started("cpu"))
        await service.cancel(first)
        third = await submit(service)
        device.lose(first, started=True)
        await until(lambda: len(device.started) == 2)
        assert device.started[1].attempt == 2
        device.emit(device.started[1].id, Started("cpu", 2), Succeeded(Report()))
        logs = [await watched(service, run) for run in (second, third)]
    for log in logs:
        assert made(log) == [Started("cpu"), Started("cpu", 2), Succeeded(Report())]


async def test_a_failure_is_everybodys() -> None:
    device = engine()
    async with run_service(device) as service:
        runs = [await submit(service) for _ in range(3)]
        await until(lambda: len(device.started) == 1)
        device.emit(runs[0], Started("cpu"))
        await service.cancel(runs[0])
        device.lose(runs[0], started=True, blame="certain")
        for run in runs[1:]:
            await watched(service, run)
            assert (await service.get(run)).error == LOST


async def test_an_urgent_request_lends_its_priority_to_the_run_that_waits() -> None:
    device = engine(capacity=1)
    async with run_service(device) as service:
        blocker = await submit(service, seed=9)
        await until(lambda: len(device.started) == 1)
        await submit(service, seed=8, priority="normal")
        shared = await submit(service, priority="batch")
        await submit(service, priority="interactive")
        device.emit(blocker, Succeeded(Report()))
        await until(lambda: len(device.started) == 2)
        assert device.started[1].id == shared


async def test_a_log_that_is_being_repeated_is_not_deleted_under_it() -> None:
    device = engine(script=steps(2000))
    async with run_service(device) as service:
        first = await submit(service)
        whole = await watched(service, first, every_preview=True)
        second = await submit(service)
        await service.delete(first)
        assert made(await watched(service, second, every_preview=True)) == made(whole)


async def test_another_model_file_makes_another_run() -> None:
    device = engine(script=steps(1))
    async with run_service(device) as service:
        await watched(service, await submit(service))
        device.arriving["tiny"] = ModelInfo("tiny", "classifier", "folder", version="2")
        await watched(service, await submit(service))
    assert len(device.started) == 2


async def test_runs_that_share_survive_a_restart(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    async with run_service(engine(), url=url) as service:
        first, second = await submit(service, max_restarts=1), await submit(service, max_restarts=1)
    async with run_service(engine(script=steps(2)), url=url) as service:
        one, two = [await watched(service, run) for run in (first, second)]
    assert made(one) == made(two)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["join", "leave head", "leave last", "step", "breathe"]), max_size=14))
async def test_whoever_comes_and_goes_each_log_is_whole(moves: list[str]) -> None:
    device = engine()
    sent: list[Event] = [Started("cpu")]
    async with run_service(device) as service:
        first = await submit(service)
        await until(lambda: len(device.started) == 1)
        device.emit(first, *sent)
        runs, gone = [first], dict[str, int]()
        for move in moves:
            if move == "join" and len(runs) > len(gone):
                runs.append(await submit(service))
            elif move.startswith("leave") and len(runs) - len(gone) > 1:
                staying = [run for run in runs if run not in gone]
                run = staying[0 if move == "leave head" else -1]
                gone[run] = len(sent)
                await service.cancel(run)
            elif move == "step":
                sent.append(Progress(len(sent)))
                device.emit(first, sent[-1])
            await asyncio.sleep(0 if move != "breathe" else 0.005)
        sent.append(Succeeded(Report()))
        device.emit(first, sent[-1])
        logs = {run: made(await watched(service, run)) for run in runs}
        assert len(device.started) + len(device.cancelled) == 1
    for run, log in logs.items():
        assert log == (sent[: len(log)] if run in gone else sent)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the fake engine tells nobody
            await asyncio.sleep(0.001)
