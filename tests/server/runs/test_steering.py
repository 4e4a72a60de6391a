"""Runs that are paused, resumed and changed; that give way, go on from checkpoints, and outlive their server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from convscope_server.engine.between_steps import MOVED, Update
from convscope_server.engine.engine import Catalog
from convscope_server.engine.messages import ModelInfo, TechniqueInfo
from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore
from convscope_server.runs.events import (
    Cancelled,
    Checkpointed,
    Event,
    Failed,
    Note,
    Paused,
    Queued,
    Report,
    Started,
    Succeeded,
    Updated,
)
from convscope_server.runs.limits import PrincipalLimits, RunLimits
from convscope_server.runs.run import LoggedEvent, RunRecord
from convscope_server.runs.service import RunService
from convscope_server.runs.store import RunStore
from support.aio import eventually, in_loop
from support.fake_engine import LOST, FakeEngine
from support.run_house import request, run_service, watched

DONE = Succeeded(Report())
LONG, SHORT = "dream", "grad_cam"
CATALOG = Catalog(
    techniques={
        LONG: TechniqueInfo(LONG, "", "{}", resumable=True, steers=("step_size",), revision="1"),
        SHORT: TechniqueInfo(SHORT, "", "{}", revision="1"),
    },
    models={"tiny": ModelInfo("tiny", "classifier", "builtin", version="1")},
)


def engine_of(capacity: int = 1) -> FakeEngine:
    return FakeEngine(capacity=capacity, catalog=CATALOG)


async def begun(service: RunService, engine: FakeEngine, **changes: Any) -> RunRecord:
    record = await service.submit(request(**{"technique": LONG, **changes}))
    await eventually(lambda: record.id in engine.runs)
    engine.emit(record.id, Started("cpu"))
    return record


async def told(service: RunService, run: str) -> Sequence[Event]:
    """All that is in a run's log by now."""
    await service._live[run].appender.settled()
    last = (await service.get(run)).last_sequence
    items = []
    async for item in service.watch(run):
        assert isinstance(item, LoggedEvent)
        items.append(item.event)
        if item.sequence == last:
            break
    return items


async def until_kept(service: RunService, run: str) -> None:
    """Returns once a run's log has a checkpoint."""
    async for item in service.watch(run):
        if isinstance(item, LoggedEvent) and isinstance(item.event, Checkpointed):
            return


def reason_of(refusal: pytest.ExceptionInfo[RequestError]) -> str:
    return refusal.value.error.reason


@in_loop
async def test_a_paused_run_leaves_its_device_to_the_next_and_goes_on_from_its_checkpoint() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record, other = await begun(service, engine), await service.submit(request(technique=SHORT))
        engine.emit(record.id, Checkpointed(7, "key"))
        await service.steering.pause(record.id)
        await eventually(lambda: other.id in engine.runs)
        assert (await service.get(record.id)).state == "paused"
        assert (await service.steering.pause(record.id)).state == "paused"
        engine.emit(other.id, Started("cpu"), DONE)
        await asyncio.sleep(0.01)
        assert record.id not in engine.runs
        assert (await service.steering.resume(record.id)).state == "queued"
        await eventually(lambda: record.id in engine.runs)
        assert (engine.started[-1].checkpoint, engine.started[-1].attempt) == ("key", 1)
        engine.emit(record.id, Started("cpu", 1, 7), DONE)
        kinds = [type(item.event).__name__ for item in await watched(service, record.id)]  # type: ignore[union-attr]
        assert kinds == [
            *("Accepted", "Queued", "Started", "Checkpointed", "Paused", "Queued", "Started", "Succeeded"),
        ]  # fmt: skip


@in_loop
async def test_a_waiting_run_is_paused_at_once_and_not_started() -> None:
    engine = engine_of(capacity=0)
    async with run_service(engine) as service:
        record = await service.submit(request(technique=SHORT))
        assert (await service.steering.pause(record.id)).state == "paused"
        engine.capacity = 1
        service._live.room_changed()
        await asyncio.sleep(0.01)
        assert not engine.runs
        await service.steering.resume(record.id)
        await eventually(lambda: record.id in engine.runs)


@in_loop
async def test_who_resumes_before_the_run_is_down_has_it_in_the_queue_again() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        engine.suspend = lambda _run: True  # type: ignore[method-assign]
        await service.steering.pause(record.id)
        await service.steering.resume(record.id)
        engine.put_down(record.id)
        await eventually(lambda: len(engine.started) == 2)
        assert Paused() not in await told(service, record.id)


@in_loop
async def test_a_run_on_a_device_whose_technique_keeps_nothing_cannot_be_paused() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine, technique=SHORT)
        with pytest.raises(RequestError) as refusal:
            await service.steering.pause(record.id)
        assert reason_of(refusal) == "RUN_NOT_RESUMABLE"


@in_loop
async def test_a_run_that_could_not_be_kept_goes_on_and_says_so() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        engine.suspend = lambda _run: True  # type: ignore[method-assign]
        await service.steering.pause(record.id)
        engine.put_down(record.id, left=False)
        notes = [event.text for event in await told(service, record.id) if isinstance(event, Note)]
        assert any("no room to keep" in text for text in notes)
        engine.emit(record.id, DONE)
        await eventually(lambda: record.id not in service._live)


@pytest.mark.parametrize("state", ["paused", "pausing"])
@in_loop
async def test_a_paused_run_can_be_cancelled(state: str) -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        await service.steering.pause(record.id)
        if state == "paused":
            await eventually(lambda: service._live[record.id].paused)
        await service.cancel(record.id)
        events = [item.event for item in await watched(service, record.id)]  # type: ignore[union-attr]
        assert events[-1] == Cancelled("requested")
        assert service._live.ledger[""].paused == 0


@in_loop
async def test_a_run_that_is_asked_to_pause_and_loses_its_worker_is_paused() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        engine.emit(record.id, Checkpointed(7, "key"))
        engine.suspend = lambda _run: True  # type: ignore[method-assign]
        await service.steering.pause(record.id)
        engine.lose(record.id, started=True)
        await eventually(lambda: service._live[record.id].paused)
        assert (await told(service, record.id))[-1] == Paused()


@in_loop
async def test_a_deadline_goes_on_while_a_run_is_paused_and_nobody_needs_to_watch_it() -> None:
    engine = engine_of()
    async with run_service(engine, limits=RunLimits(disconnect_grace=0.05)) as service:
        late = await begun(service, engine, deadline_seconds=0.4)
        await service.steering.pause(late.id)
        events = [item.event for item in await watched(service, late.id)]  # type: ignore[union-attr]
        assert isinstance(events[-1], Failed)
        assert events[-1].error.reason == "DEADLINE_EXCEEDED"
        left = await service.submit(request(technique=LONG, on_disconnect="cancel"))
        await service.steering.pause(left.id)
        await asyncio.sleep(0.2)
        assert (await service.get(left.id)).state == "paused"
        await service.steering.resume(left.id)
        await eventually(lambda: left.id not in service._live)
        assert (await service.get(left.id)).state == "cancelled"


@in_loop
async def test_paused_runs_count_as_waiting_where_that_is_bounded() -> None:
    limits = RunLimits(principal=PrincipalLimits(queued=2))
    async with run_service(engine_of(capacity=0), limits=limits) as service:
        for _ in range(2):
            await service.steering.pause((await service.submit(request(cache="bypass"))).id)
        with pytest.raises(RequestError) as refusal:
            await service.submit(request())
        assert reason_of(refusal) == "QUOTA_EXCEEDED"


@in_loop
async def test_a_run_that_was_kept_goes_on_when_its_worker_is_lost_however_often() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        for step in range(1, 8):
            engine.emit(record.id, Checkpointed(step, f"key{step}"))
            engine.lose(record.id, started=True)
            await eventually(lambda step=step: len(engine.started) == step + 1)  # type: ignore[misc]
            assert (engine.started[-1].checkpoint, engine.started[-1].attempt) == (f"key{step}", step + 1)
        engine.lose(record.id, started=True)  # it came no further
        events = [item.event for item in await watched(service, record.id)]  # type: ignore[union-attr]
        assert isinstance(events[-1], Failed)
        assert Note("its worker was lost; it goes on from step 3") in events


@in_loop
async def test_a_run_that_certainly_took_its_worker_down_does_not_go_on() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        engine.emit(record.id, Checkpointed(7, "key"))
        engine.lose(record.id, started=True, blame="certain")
        await eventually(lambda: record.id not in service._live)
        assert (await service.get(record.id)).state == "failed"


async def _left_by_a_server(url: str) -> tuple[str, str]:
    """Two runs, one kept at step 7 and one paused at it, whose server has gone."""
    engine = engine_of(capacity=2)
    async with run_service(engine, url=url) as service:
        kept, paused = [await begun(service, engine, seed=seed) for seed in range(2)]
        for record in (kept, paused):
            engine.emit(record.id, Checkpointed(5, "old"), Checkpointed(7, f"key{record.request.seed}"))
        await service.steering.pause(paused.id)
        await eventually(lambda: service._live[paused.id].paused)
        await service.steering.update(paused.id, {"step_size": 2.0})
    return kept.id, paused.id


@in_loop
async def test_another_server_goes_on_from_the_newest_checkpoint_and_leaves_paused_runs_paused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    kept, paused = await _left_by_a_server(url)
    engine = engine_of(capacity=2)
    async with run_service(engine, url=url) as service:
        await eventually(lambda: kept in engine.runs)
        assert (engine.started[-1].checkpoint, engine.started[-1].attempt) == ("key0", 2)
        assert (await service.get(paused)).state == "paused"
        await service.steering.resume(paused)
        await eventually(lambda: paused in engine.runs)
        assert engine.started[-1].checkpoint == "key1"
        assert engine.started[-1].updates == (Update({"step_size": 2.0}, 7, made=True),)


@pytest.mark.parametrize("kept", [False, True])
@in_loop
async def test_identical_runs_share_again_on_the_next_server_what_they_shared(tmp_path: Path, *, kept: bool) -> None:
    url, engine = f"sqlite:///{tmp_path / 'runs.db'}", engine_of(capacity=3)
    asked = {"technique": LONG, "max_restarts": 1}
    async with run_service(engine, url=url) as service:
        head = await begun(service, engine, max_restarts=1)
        others = [await service.submit(request(**asked)) for _ in range(2)]
        if kept:
            engine.emit(head.id, Checkpointed(7, "key"))
        for other in others if kept else ():
            await until_kept(service, other.id)
        alone = await begun(service, engine, cache="bypass", max_restarts=1)
    engine = engine_of(capacity=3)
    async with run_service(engine, url=url) as service:
        await eventually(lambda: len(engine.runs) == 2)
        assert {spec.id for spec in engine.started} == {head.id, alone.id}
        engine.emit(head.id, Started("cpu", 2, 7 if kept else 0))
        await service.cancel(head.id)  # the others still want it
        assert head.id in engine.runs
        engine.emit(head.id, DONE)
        for other in others:
            events = [item.event for item in await watched(service, other.id)]  # type: ignore[union-attr]
            assert events[-2:] == [Started("cpu", 2, 7 if kept else 0), DONE]


@in_loop
async def test_what_a_lost_worker_wrote_and_told_nobody_of_is_removed(tmp_path: Path) -> None:
    engine, files = engine_of(), tmp_path / "checkpoints"
    files.mkdir()
    async with run_service(engine, checkpoints=files) as service:
        record = await begun(service, engine)
        before, told_of, after, last = (f"{record.id}-{2**60 + moment:x}" for moment in range(4))
        others = f"{'0' * 32}-{2**60:x}", f"{'f' * 32}-{2**60:x}"
        for name in (before, told_of, after, f".{last}.tmp", *others):
            (files / name).touch()
        engine.emit(record.id, Checkpointed(7, told_of))
        engine.lose(record.id, started=True)
        await eventually(lambda: len(engine.started) == 2)
        await eventually(lambda: {file.name for file in files.iterdir()} == {before, told_of, *others})


@in_loop
async def test_files_that_no_run_goes_on_from_are_removed(tmp_path: Path) -> None:
    url, files = f"sqlite:///{tmp_path / 'runs.db'}", tmp_path / "checkpoints"
    files.mkdir()
    for name in ("old", "key0", "key1", "somebody's", ".key0.tmp"):
        (files / name).touch()
    kept, paused = await _left_by_a_server(url)
    engine = engine_of(capacity=2)
    service = RunService(RunStore(url), ContentStore(f"file://{tmp_path}/content"), engine, checkpoints=files)
    await service.start()
    try:
        assert {file.name for file in files.iterdir()} == {"key0", "key1"}
        await eventually(lambda: kept in engine.runs)
        (files / "key2").touch()
        engine.emit(kept, Checkpointed(9, "key2"))
        await eventually(lambda: {file.name for file in files.iterdir()} == {"key1", "key2"})
        engine.emit(kept, DONE)
        await service.cancel(paused)
        await eventually(lambda: not list(files.iterdir()))
    finally:
        await service.close()


@in_loop
async def test_a_drain_puts_down_what_can_go_on_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    engine = engine_of()
    async with run_service(engine, url=url) as service:
        record = await begun(service, engine)
        engine.emit(record.id, Checkpointed(7, "key"))
        async with asyncio.timeout(1):
            await service.drain(60)
        assert not engine.runs
    engine = engine_of()
    async with run_service(engine, url=url) as service:
        await eventually(lambda: record.id in engine.runs)
        assert (engine.started[-1].checkpoint, engine.started[-1].attempt) == ("key", 1)


@in_loop
async def test_a_change_of_a_run_at_work_is_made_by_its_worker_and_kept_with_the_run() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        await service.steering.update(record.id, {"step_size": 2.0})
        assert engine.steered == [(record.id, {"step_size": 2.0})]
        engine.emit(record.id, Updated(3, {"step_size": 2.0}), Updated(3, {"step_size": 2.0}))
        await told(service, record.id)
        assert (await service.get(record.id)).request.updates == (Update({"step_size": 2.0}, 3, made=True),)
        assert (await service.submit(record.request)).id == record.id  # asked again, it is the same request


@in_loop
async def test_the_record_has_the_last_word_where_a_run_fell_back() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        planned = Update({"step_size": 1.5}, 20)
        record = await begun(service, engine, updates=(planned,))
        engine.emit(record.id, Updated(9, {"step_size": 2.0, "steps": 3}), Updated(5, {"step_size": 3.0}))
        engine.emit(
            record.id, Updated(9, {"steps": 3}), Updated(20, {"step_size": 1.5})
        )  # as its worker does them again
        await told(service, record.id)
        made = [(update.step, update.params) for update in (await service.get(record.id)).request.updates]
        assert made == [(5, {"step_size": 3.0}), (9, {"steps": 3}), (20, {"step_size": 1.5})]


@in_loop
async def test_a_changed_run_is_like_no_other() -> None:
    engine = engine_of(capacity=2)
    async with run_service(engine) as service:
        record = await begun(service, engine)
        engine.emit(record.id, Updated(3, {"step_size": 2.0}))
        other = await begun(service, engine)  # it does not join the first
        engine.emit(record.id, DONE)
        await eventually(lambda: record.id not in service._live)
        engine.emit(other.id, DONE)
        await eventually(lambda: other.id not in service._live)
        third = await service.submit(request(technique=LONG))
        events = [item.event for item in await watched(service, third.id)]  # type: ignore[union-attr]
        assert events[-1] == DONE
        assert Updated(3, {"step_size": 2.0}) not in events


@in_loop
async def test_a_run_with_changes_is_another_than_one_without() -> None:
    engine = engine_of(capacity=3)
    async with run_service(engine) as service:
        updates = (Update({"step_size": 2.0}, 3),)
        plain, changed = await begun(service, engine), await begun(service, engine, updates=updates)
        assert plain.identity != changed.identity
        assert engine.started[-1].updates == updates
        engine.emit(changed.id, Updated(3, {"step_size": 2.0}), DONE)
        await eventually(lambda: changed.id not in service._live)
        assert (await service.get(changed.id)).identity == changed.identity  # as planned: it may stand for others


@in_loop
async def test_a_change_of_a_waiting_run_holds_where_it_goes_on() -> None:
    engine = engine_of(capacity=0)
    async with run_service(engine) as service:
        record = await service.submit(request(technique=LONG, params={"steps": 3}))
        changed = await service.steering.update(record.id, {"step_size": 2.0})
        assert changed.request.updates == (Update({"step_size": 2.0}, 0, made=True),)
        engine.refusing = RequestError.of("INVALID_ARGUMENT", "PARAMS_INVALID", "no")
        with pytest.raises(RequestError, match="no"):
            await service.steering.update(record.id, {"step_size": -2.0})
        engine.capacity = 1
        service._live.room_changed()
        await eventually(lambda: record.id in engine.runs)
        assert engine.started[-1].updates == (Update({"step_size": 2.0}, 0, made=True),)


@in_loop
async def test_a_change_that_meets_a_run_on_its_way_off_is_made_where_it_is_then() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        engine.suspend = lambda _run: True  # type: ignore[method-assign]
        await service.steering.pause(record.id)

        async def steer(_run: str, _params: Any) -> None:
            engine.put_down(record.id)
            raise RequestError(MOVED)

        engine.steer = steer  # type: ignore[method-assign]
        changed = await service.steering.update(record.id, {"step_size": 2.0})
        assert changed.request.updates == (Update({"step_size": 2.0}, 0, made=True),)


@in_loop
async def test_a_change_that_loses_its_worker_holds_where_the_run_goes_on() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        engine.emit(record.id, Checkpointed(7, "key"))

        async def steer(run: str, _params: Any) -> None:
            engine.capacity = 0  # no other worker is there yet
            engine.lose(run, started=True)
            raise RequestError(LOST)

        engine.steer = steer  # type: ignore[method-assign]
        changed = await service.steering.update(record.id, {"step_size": 2.0})
        assert changed.request.updates == (Update({"step_size": 2.0}, 7, made=True),)


@in_loop
async def test_shared_runs_are_left_as_they_are_and_ended_ones_cannot_be_changed() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        head = await begun(service, engine)
        follower = await service.submit(request(technique=LONG))
        for run in (head.id, follower.id):
            for steer in (service.steering.pause(run), service.steering.update(run, {"step_size": 1.0})):
                with pytest.raises(RequestError) as refusal:
                    await steer
                assert reason_of(refusal) == "RUN_SHARED"
        engine.emit(head.id, DONE)
        await eventually(lambda: not len(service._live))
        assert (await service.steering.pause(head.id)).state == "succeeded"
        assert (await service.steering.resume(head.id)).state == "succeeded"
        with pytest.raises(RequestError) as refusal:
            await service.steering.update(head.id, {"step_size": 1.0})
        assert reason_of(refusal) == "RUN_ENDED"


@in_loop
async def test_who_is_left_alone_with_a_run_that_it_shared_may_change_it() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        head = await begun(service, engine)
        follower = await service.submit(request(technique=LONG))
        await told(service, follower.id)
        await service.cancel(head.id)
        await eventually(lambda: head.id not in service._live)
        await service.steering.update(follower.id, {"step_size": 2.0})
        assert engine.steered == [(head.id, {"step_size": 2.0})]


@in_loop
async def test_nobody_joins_a_run_that_is_about_to_change() -> None:
    engine, stepped = engine_of(capacity=2), asyncio.Event()
    async with run_service(engine) as service:
        changing = await begun(service, engine)

        async def steer(_run: str, _params: Any) -> None:
            await stepped.wait()

        engine.steer = steer  # type: ignore[method-assign]
        update = asyncio.create_task(service.steering.update(changing.id, {"step_size": 2.0}))
        await asyncio.sleep(0.01)
        other = await service.submit(request(technique=LONG))
        await eventually(lambda: other.id in engine.runs)
        stepped.set()
        await update


@in_loop
async def test_nobody_joins_a_paused_run() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        head = await begun(service, engine)
        await service.steering.pause(head.id)
        other = await service.submit(request(technique=LONG))
        await eventually(lambda: other.id in engine.runs)


@pytest.mark.parametrize(
    ("here", "comes", "gives_way"),
    [
        ({"priority": "batch"}, {"owner": "bob"}, True),
        ({"priority": "batch"}, {"priority": "interactive"}, True),
        ({}, {"priority": "interactive"}, True),
        ({}, {"priority": "interactive", "owner": "bob"}, False),
        ({"priority": "batch"}, {"priority": "batch", "owner": "bob"}, False),
        ({"priority": "batch", "technique": SHORT}, {}, False),
    ],
)
@in_loop
async def test_a_run_gives_way_to_a_more_urgent_one(
    *, here: dict[str, Any], comes: dict[str, Any], gives_way: bool
) -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        first = await begun(service, engine, owner="ada", **here)
        engine.emit(first.id, Checkpointed(7, "key"))
        urgent = await service.submit(request(**{"technique": SHORT, "owner": "ada", **comes}))
        if not gives_way:
            await asyncio.sleep(0.02)
            assert list(engine.runs) == [first.id]
            return
        await eventually(lambda: urgent.id in engine.runs)
        assert isinstance((await told(service, first.id))[-1], Queued)
        assert (await service.get(first.id)).state == "queued"
        engine.emit(urgent.id, Started("cpu"), DONE)
        await eventually(lambda: first.id in engine.runs)
        assert engine.started[-1].checkpoint == "key"


@in_loop
async def test_others_find_no_run_to_pause() -> None:
    async with run_service(engine_of()) as service:
        record = await service.submit(request(technique=LONG, owner="ada"))
        for steer in (
            service.steering.pause(record.id, owner="bob"),
            service.steering.resume(record.id, owner="bob"),
            service.steering.update(record.id, {}, owner="bob"),
        ):
            with pytest.raises(RequestError) as refusal:
                await steer
            assert reason_of(refusal) == "RUN_NOT_FOUND"
