"""Runs that are shared, changed, cancelled and put down at the same time: nobody's work is lost, or another one's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from convscope_server.engine.between_steps import Update
from convscope_server.engine.engine import Catalog
from convscope_server.engine.messages import ModelInfo, TechniqueInfo
from convscope_server.images.content import ContentStore
from convscope_server.runs.events import Cancelled, Checkpointed, Paused, Progress, Report, Started, Succeeded, Updated
from convscope_server.runs.run import LoggedEvent, RunRecord, steered
from convscope_server.runs.service import RunService
from convscope_server.runs.store import RunStore
from support.aio import eventually, in_loop
from support.fake_engine import FakeEngine
from support.run_house import events_of, request, run_service, watched

DONE = Succeeded(Report())
LONG = "dream"
CATALOG = Catalog(
    techniques={LONG: TechniqueInfo(LONG, "", "{}", resumable=True, steers=("step_size",), revision="1")},
    models={"tiny": ModelInfo("tiny", "classifier", "builtin", version="1")},
)


def engine_of(capacity: int = 1) -> FakeEngine:
    return FakeEngine(capacity=capacity, catalog=CATALOG)


async def begun(service: RunService, engine: FakeEngine, **changes: Any) -> RunRecord:
    record = await service.submit(request(technique=LONG, **changes))
    await eventually(lambda: record.id in engine.runs)
    engine.emit(record.id, Started("cpu"))
    return record


def keeping(place: Path, url: str = "sqlite://") -> tuple[RunService, FakeEngine]:
    engine = engine_of()
    return RunService(RunStore(url), ContentStore("memory://kept"), engine, checkpoints=place), engine


@in_loop
async def test_nobody_joins_a_run_while_it_is_being_changed() -> None:
    engine = engine_of(capacity=2)
    async with run_service(engine) as service:
        head = await begun(service, engine)
        came: list[RunRecord] = []

        async def steer(run: str, params: Any) -> None:
            came.append(await service.submit(request(technique=LONG)))
            engine.emit(run, Updated(3, dict(params)))

        engine.steer = steer  # type: ignore[method-assign]  # the test's in its place
        await service.steering.update(head.id, {"step_size": 2.0})
        await eventually(lambda: came[0].id in engine.runs)
        engine.emit(came[0].id, Started("cpu"), DONE)
        engine.emit(head.id, DONE)
        await watched(service, came[0].id)
        assert (await service.get(came[0].id)).request.updates == ()


@in_loop
async def test_a_run_that_was_changed_and_ended_meanwhile_is_nobodys_twin() -> None:
    engine = engine_of(capacity=2)
    async with run_service(engine) as service:
        head = await begun(service, engine)
        insert = service._store.insert

        async def slow(*arguments: Any) -> Any:
            kept = await insert(*arguments)
            engine.emit(head.id, Updated(3, {"step_size": 2.0}), DONE)
            await eventually(lambda: head.id not in service._live)
            return kept

        service._store.insert = slow  # type: ignore[method-assign]  # the test's in its place
        other = await service.submit(request(technique=LONG))
        await eventually(lambda: other.id in engine.runs)


@in_loop
async def test_nobody_joins_a_run_that_is_being_cancelled() -> None:
    engine = engine_of(capacity=2)
    async with run_service(engine) as service:
        head = await begun(service, engine)
        engine.cancel = lambda _run, _reason: True  # type: ignore[method-assign]  # the test's in its place
        await service.cancel(head.id)
        other = await service.submit(request(technique=LONG))
        await eventually(lambda: other.id in engine.runs)
        third = await service.submit(request(technique=LONG))
        engine.emit(head.id, Cancelled("requested"))
        engine.emit(other.id, Started("cpu"), DONE)
        for run in (other.id, third.id):
            assert isinstance((await events_of(service, run))[-1], Succeeded)
        assert len(engine.started) == 2


@in_loop
async def test_a_run_that_asked_to_be_alone_is_alone() -> None:
    engine = engine_of(capacity=2)
    async with run_service(engine) as service:
        alone = await begun(service, engine, cache="bypass")
        other = await service.submit(request(technique=LONG, owner="bob"))
        await eventually(lambda: other.id in engine.runs)
        await service.steering.update(alone.id, {"step_size": 2.0})


def test_the_last_word_counts_of_changes_at_one_step() -> None:
    changes = [Updated(7, {"step_size": size}) for size in (1.0, 2.0, 1.0)]
    changed = steered(request(), changes)
    assert changed.updates == tuple(Update(one.params, one.step, made=True) for one in changes)
    assert steered(changed, [changes[-1]]) is changed


@in_loop
async def test_a_run_that_others_share_does_not_give_way_to_its_own_principals() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        head = await begun(service, engine, owner="ada")
        await service.submit(request(technique=LONG, owner="bob"))
        await service.submit(request(technique=LONG, owner="ada", priority="interactive", seed=1))
        await asyncio.sleep(0.02)
        assert list(engine.runs) == [head.id]


@in_loop
async def test_a_run_that_lost_its_worker_while_it_gave_way_gives_way_again() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        batch = await begun(service, engine, priority="batch")
        engine.emit(batch.id, Checkpointed(7, "key"))
        suspend, engine.suspend = engine.suspend, lambda _run: True  # type: ignore[method-assign]  # the test's in its place
        urgent = await service.submit(request(technique=LONG, owner="bob", deadline_seconds=60))
        await eventually(lambda: service._live[batch.id].giving_way)
        engine.suspend = suspend  # type: ignore[method-assign]  # the test's in its place
        engine.lose(batch.id, started=True)
        assert not service._live[batch.id].giving_way
        await eventually(lambda: urgent.id in engine.runs)


@in_loop
async def test_nobody_is_paused_by_the_log_of_a_run_that_was() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        head = await begun(service, engine)
        await service.steering.pause(head.id)
        await eventually(lambda: service._live[head.id].paused)
        await service.steering.resume(head.id)
        await eventually(lambda: head.id in engine.runs)
        follower = await service.submit(request(technique=LONG))
        engine.emit(head.id, Started("cpu"), Checkpointed(7, "key"), DONE)
        await eventually(lambda: not len(service._live))
        later = await service.submit(request(technique=LONG))
        for run in (follower.id, later.id):
            events = [item.event for item in await watched(service, run) if isinstance(item, LoggedEvent)]
            assert Paused() not in events
        assert await service._store.checkpoint(later.id) is None


@in_loop
async def test_what_a_new_head_goes_on_from_stays_though_its_log_is_behind(tmp_path: Path) -> None:
    service, engine = keeping(tmp_path)
    await service.start()
    try:
        head = await begun(service, engine)
        follower = await service.submit(request(technique=LONG))
        appender = service._live[follower.id].appender
        gate = asyncio.Event()
        append = appender._append

        async def late(entries: list[LoggedEvent]) -> None:
            await gate.wait()
            await append(entries)

        appender._append = late  # type: ignore[method-assign]  # the test's in its place
        for step, key in enumerate(("one", "two"), start=1):
            (tmp_path / key).touch()
            engine.emit(head.id, Progress(step, 3), Checkpointed(step, key))
            await service._live[head.id].appender.settled()
        await service.cancel(head.id)
        await eventually(lambda: head.id not in service._live)
        await asyncio.sleep(0.05)
        assert (tmp_path / "two").exists()
        gate.set()
        await eventually(lambda: service._live._checkpoints._keys.get(follower.id) == "two")
        engine.emit(head.id, DONE)
        await eventually(lambda: follower.id not in service._live)
        await eventually(lambda: not list(tmp_path.iterdir()))
    finally:
        await service.close()


@in_loop
async def test_a_checkpoint_that_nobody_takes_is_removed_and_nothing_elsewhere(tmp_path: Path) -> None:
    place, outside = tmp_path / "checkpoints", tmp_path / "runs.db"
    place.mkdir()
    service, _ = keeping(place)
    await service.start()
    try:
        for file in (place / "late", outside):
            file.touch()
        service._live.run_events("gone", [Checkpointed(1, "late"), Checkpointed(2, "../runs.db")])
        await eventually(lambda: not (place / "late").exists())
        assert outside.exists()
    finally:
        await service.close()


@pytest.mark.parametrize("wanted", ["pause", "cancel"])
@in_loop
async def test_a_run_in_a_long_step_is_paused_or_cancelled_by_a_server_that_goes(tmp_path: Path, wanted: str) -> None:
    engine = engine_of()
    store = RunStore(f"sqlite:///{tmp_path}/runs.db")
    async with run_service(engine, store=store) as service:
        record = await begun(service, engine)
        engine.suspend = lambda _run: True  # type: ignore[method-assign]  # the test's in its place
        engine.cancel = lambda _run, _reason: True  # type: ignore[method-assign]  # the test's in its place
        await (service.steering.pause(record.id) if wanted == "pause" else service.cancel(record.id))
        await service.drain(grace=0.01)
    engine = engine_of()
    async with run_service(engine, store=RunStore(f"sqlite:///{tmp_path}/runs.db")) as service:
        await asyncio.sleep(0.02)
        assert not engine.started
        assert (await service.get(record.id)).state == ("paused" if wanted == "pause" else "cancelled")


@in_loop
async def test_a_paused_run_that_ends_because_it_cannot_be_stored_counts_no_more() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        await service.steering.pause(record.id)
        await eventually(lambda: service._live[record.id].paused)
        live = service._live[record.id]
        await service._store.append(record.id, [LoggedEvent(record.id, live.log.last + 1, 0.0, Cancelled("requested"))])
        await service.steering.update(record.id, {"step_size": 2.0})
        await eventually(lambda: record.id not in service._live)
        assert service._live.ledger[""].paused == 0


@pytest.mark.parametrize("caught_up", [True, False])
@in_loop
async def test_whoever_follows_a_run_outlives_the_server_with_it(tmp_path: Path, *, caught_up: bool) -> None:
    engine = engine_of()
    async with run_service(engine, store=RunStore(f"sqlite:///{tmp_path}/runs.db")) as service:
        head = await begun(service, engine)
        follower = await service.submit(request(technique=LONG))
        await eventually(lambda: service._live[follower.id].log.last >= (4 if caught_up else 3))
        engine.suspend = lambda _run: True  # type: ignore[method-assign]  # the test's in its place
        await service.drain(grace=0.0)
    engine = engine_of()
    async with run_service(engine, store=RunStore(f"sqlite:///{tmp_path}/runs.db")) as service:
        await eventually(lambda: head.id in engine.runs)
        engine.emit(head.id, Started("cpu"), DONE)
        for run in (head.id, follower.id):
            await eventually(lambda: engine.emit(follower.id, Started("cpu"), DONE) or not len(service._live))
            assert isinstance((await events_of(service, run))[-1], Succeeded)
