"""Runs that are paused, resumed and changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from convscope_server.engine.between_steps import MOVED, Update
from convscope_server.errors import RequestError
from convscope_server.runs.events import (
    Cancelled,
    Checkpointed,
    Failed,
    Note,
    Paused,
    Started,
    Updated,
)
from convscope_server.runs.limits import PrincipalLimits, RunLimits
from support.aio import eventually, in_loop
from support.fake_engine import LOST
from support.run_house import events_of, request, run_service
from support.steered import DONE, LONG, SHORT, begun, engine_of, reason_of, told


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
        kinds = [type(event).__name__ for event in await events_of(service, record.id)]
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
        engine.suspend = lambda _run: True  # type: ignore[method-assign]  # the test's in its place
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
        engine.suspend = lambda _run: True  # type: ignore[method-assign]  # the test's in its place
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
        events = await events_of(service, record.id)
        assert events[-1] == Cancelled("requested")
        assert service._live.ledger[""].paused == 0


@in_loop
async def test_a_run_that_is_asked_to_pause_and_loses_its_worker_is_paused() -> None:
    engine = engine_of()
    async with run_service(engine) as service:
        record = await begun(service, engine)
        engine.emit(record.id, Checkpointed(7, "key"))
        engine.suspend = lambda _run: True  # type: ignore[method-assign]  # the test's in its place
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
        events = await events_of(service, late.id)
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
        events = await events_of(service, third.id)
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
        engine.suspend = lambda _run: True  # type: ignore[method-assign]  # the test's in its place
        await service.steering.pause(record.id)

        async def steer(_run: str, _params: Any) -> None:
            engine.put_down(record.id)
            raise RequestError(MOVED)

        engine.steer = steer  # type: ignore[method-assign]  # the test's in its place
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

        engine.steer = steer  # type: ignore[method-assign]  # the test's in its place
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

        engine.steer = steer  # type: ignore[method-assign]  # the test's in its place
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
