"""However a run ends, it ends once: cancel, deadline, disconnect, drain, lost workers, restarts."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore
from convscope_server.runs.events import Cancelled, CancelReason, Failed, Note, Progress, Report, Started, Succeeded
from convscope_server.runs.limits import RunLimits
from convscope_server.runs.service import RunService
from support.aio import eventually, in_loop
from support.fake_engine import LOST, FakeEngine, steps
from support.run_house import assert_whole_log, end_of, kinds, request, run_service, watched

DONE = Succeeded(Report())


@in_loop
async def test_a_waiting_run_is_cancelled_at_once_and_never_started() -> None:
    engine = FakeEngine(capacity=0)
    async with run_service(engine) as service:
        record = await service.submit(request())
        cancelled = await service.cancel(record.id)
        assert cancelled.state == "cancelled"
        assert await end_of(service, record.id) == Cancelled("requested")
        assert await service.cancel(record.id) == cancelled
        engine.capacity = 1
        service._live.room_changed()
        await asyncio.sleep(0.01)
        assert engine.started == []
        assert engine.cancelled == []


@in_loop
async def test_a_running_run_is_cancelled_by_its_worker_and_asked_once() -> None:
    engine = FakeEngine(script=steps(1000, seconds=0.01))
    async with run_service(engine) as service:
        record = await service.submit(request())
        await eventually(lambda: record.id in engine.runs)
        await asyncio.gather(*(service.cancel(record.id) for _ in range(5)))
        assert await end_of(service, record.id) == Cancelled("requested")
        assert engine.cancelled == [(record.id, "requested")]


@in_loop
async def test_a_cancel_that_comes_after_the_end_changes_nothing() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        record = await service.submit(request())
        await eventually(lambda: record.id in engine.runs)
        engine.emit(record.id, Started("cpu"), DONE)
        assert (await service.cancel(record.id)).state == "succeeded"
        assert engine.cancelled == []


@in_loop
async def test_a_run_that_the_engine_has_not_got_any_more_is_cancelled_all_the_same() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        record = await service.submit(request())
        await eventually(lambda: record.id in engine.runs)
        engine.runs.clear()
        assert (await service.cancel(record.id)).state == "cancelled"
        service._live.run_events(record.id, [DONE])
        service._live.run_lost(record.id, started=True, error=LOST, blame="suspected")
        assert await end_of(service, record.id) == Cancelled("requested")


@in_loop
async def test_what_comes_after_the_terminal_event_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        record = await service.submit(request())
        await eventually(lambda: record.id in engine.runs)
        service._live.run_events(record.id, [Started("cpu"), DONE, Note("late"), Failed(LOST)])
        assert await end_of(service, record.id) == DONE
        assert (await service.get(record.id)).state == "succeeded"
    assert "Note after its terminal event" in caplog.text


@in_loop
async def test_a_run_lost_before_it_began_is_first_in_the_queue_again() -> None:
    engine = FakeEngine(capacity=1)
    async with run_service(engine) as service:
        first, second = await service.submit(request(seed=1)), await service.submit(request(seed=2))
        await eventually(lambda: first.id in engine.runs)
        engine.lose(first.id, started=False)
        await eventually(lambda: len(engine.started) == 2)
        assert [(spec.id, spec.attempt) for spec in engine.started] == [(first.id, 1), (first.id, 1)]
        engine.emit(first.id, Started("cpu"), DONE)
        await eventually(lambda: second.id in engine.runs)


@in_loop
async def test_a_run_that_kills_every_worker_before_it_begins_fails_in_the_end() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        record = await service.submit(request())
        while record.id in service._live:
            if record.id in engine.runs:
                engine.lose(record.id, started=False)
            await asyncio.sleep(0.001)
        assert await end_of(service, record.id) == Failed(LOST)
        assert len(engine.started) == 4


@pytest.mark.parametrize("max_restarts", [0, 2])
@in_loop
async def test_a_run_lost_on_its_way_starts_again_as_often_as_it_asked_for(max_restarts: int) -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        record = await service.submit(request(max_restarts=max_restarts))
        for attempt in range(1, max_restarts + 2):
            await eventually(lambda: record.id in engine.runs)
            assert engine.started[-1].attempt == attempt
            engine.emit(record.id, Started("cpu", attempt), Progress(1))
            engine.lose(record.id, started=True)
        assert await end_of(service, record.id) == Failed(LOST)
        assert kinds(await watched(service, record.id)).count("Started") == max_restarts + 1
        assert (await service.get(record.id)).error == LOST


@in_loop
async def test_a_bystander_starts_again_unasked_and_says_so_but_not_for_ever() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        record = await service.submit(request())
        for attempt in range(1, 5):
            await eventually(lambda: record.id in engine.runs)
            engine.emit(record.id, Started("cpu", attempt), Progress(1))
            engine.lose(record.id, started=True, blame="none")
        assert await end_of(service, record.id) == Failed(LOST)
        log = kinds(await watched(service, record.id))
        assert (log.count("Started"), log.count("Note")) == (4, 3)


@in_loop
async def test_a_run_that_took_its_worker_down_does_not_get_another_whatever_it_asked_for() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        record = await service.submit(request(max_restarts=5))
        await eventually(lambda: record.id in engine.runs)
        engine.emit(record.id, Started("cpu"), Progress(1))
        engine.lose(record.id, started=True, blame="certain")
        assert await end_of(service, record.id) == Failed(LOST)


@in_loop
async def test_a_run_lost_while_it_was_being_cancelled_is_cancelled() -> None:
    class Deaf(FakeEngine):
        def cancel(self, run: str, reason: CancelReason) -> bool:
            self.cancelled.append((run, reason))
            return True

    engine = Deaf()
    async with run_service(engine) as service:
        record = await service.submit(request(max_restarts=5))
        await eventually(lambda: record.id in engine.runs)
        assert (await service.cancel(record.id)).end_time is None
        engine.lose(record.id, started=True)
        assert await end_of(service, record.id) == Cancelled("requested")


@in_loop
async def test_a_waiting_run_fails_when_its_deadline_passes() -> None:
    engine = FakeEngine(capacity=0)
    async with run_service(engine) as service:
        record = await service.submit(request(deadline_seconds=0.05))
        ended = await end_of(service, record.id)
        assert isinstance(ended, Failed)
        assert (ended.error.code, ended.error.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        assert 0.05 <= time.time() - record.create_time < 5
        assert engine.started == []


@in_loop
async def test_a_deadline_passes_behind_others_in_the_queue_too() -> None:
    async with run_service(FakeEngine(capacity=0)) as service:
        first = await service.submit(request())
        record = await service.submit(request(deadline_seconds=0.05))
        assert isinstance(await end_of(service, record.id), Failed)
        assert (await service.get(first.id)).state == "queued"


@in_loop
async def test_a_run_cancelled_while_its_image_is_read_never_starts() -> None:
    class Gated(ContentStore):
        reading, go_on = asyncio.Event(), asyncio.Event()

        async def get(self, digest: str) -> bytes:
            self.reading.set()
            await self.go_on.wait()
            return await super().get(digest)

    engine, content = FakeEngine(), Gated(f"memory://{uuid4().hex}")
    async with run_service(engine, content=content) as service:
        record = await service.submit(request(image=await content.put(b"image")))
        behind = await service.submit(request())
        await content.reading.wait()
        assert (await service.cancel(record.id)).state == "cancelled"
        content.go_on.set()
        await eventually(lambda: behind.id in engine.runs)
        assert [spec.id for spec in engine.started] == [behind.id]


@in_loop
async def test_a_started_run_is_told_its_deadline_and_left_to_its_worker() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        record = await service.submit(request(deadline_seconds=0.05))
        await eventually(lambda: record.id in engine.runs)
        assert engine.started[0].deadline == record.create_time + 0.05
        await asyncio.sleep(0.1)
        engine.emit(record.id, Started("cpu"), DONE)
        assert await end_of(service, record.id) == DONE


@in_loop
async def test_a_run_that_nobody_watches_is_cancelled_after_the_grace_period() -> None:
    engine = FakeEngine()
    async with run_service(engine, limits=RunLimits(disconnect_grace=0.1)) as service:
        never = await service.submit(request(on_disconnect="cancel"))
        kept = await service.submit(request(on_disconnect="detach"))
        left = await service.submit(request(on_disconnect="cancel"))
        watching, again = service.watch(left.id), service.watch(left.id)
        await anext(watching)
        await eventually(lambda: (never.id, "disconnected") in engine.cancelled)
        await anext(again)
        await watching.aclose()
        await asyncio.sleep(0.2)
        assert [run for run, _ in engine.cancelled] == [never.id]
        await again.aclose()
        await asyncio.sleep(0.05)
        back = service.watch(left.id)
        await anext(back)
        await asyncio.sleep(0.15)
        assert [run for run, _ in engine.cancelled] == [never.id]
        await back.aclose()
        assert await end_of(service, never.id) == Cancelled("disconnected")
        await eventually(lambda: (left.id, "disconnected") in engine.cancelled)
        await eventually(lambda: left.id not in service._live)
        assert (await service.get(kept.id)).end_time is None


@in_loop
async def test_watchers_of_a_closing_server_are_sent_away_and_can_go_on_later(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    engine = FakeEngine()
    async with run_service(engine, url=url) as service:
        record = await service.submit(request(max_restarts=1))
        await eventually(lambda: record.id in engine.runs)
        engine.emit(record.id, Started("cpu"), Note("half way"))
        watching = service.watch(record.id)
        seen = [await anext(watching) for _ in range(4)]
        waiting = asyncio.ensure_future(anext(watching))
        await asyncio.sleep(0)
    with pytest.raises(RequestError) as refusal:
        await waiting
    assert (refusal.value.error.code, refusal.value.error.reason) == ("UNAVAILABLE", "SERVER_CLOSED")
    async with run_service(FakeEngine(script=steps(1)), url=url) as service:
        assert_whole_log([*seen, *await watched(service, record.id, after_sequence=4)])


@in_loop
async def test_after_a_restart_waiting_runs_wait_in_order_and_begun_ones_restart_or_fail(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    engine = FakeEngine(capacity=2)
    async with run_service(engine, url=url) as service:
        asked = [request(seed=0), request(seed=1, max_restarts=1), *(request(seed=i) for i in range(2, 6))]
        records = [await service.submit(each) for each in asked]
        await eventually(lambda: len(engine.runs) == 2)
        for record in records[:2]:
            engine.emit(record.id, Started("cpu", 1), Progress(1))
    engine = FakeEngine(capacity=1, script=steps(1))
    async with run_service(engine, url=url) as service:
        failed = await service.get(records[0].id)
        assert failed.state == "failed"
        assert failed.error is not None
        assert (failed.error.code, failed.error.reason) == ("UNAVAILABLE", "SERVER_RESTARTED")
        for record in records[1:]:
            assert isinstance(await end_of(service, record.id), Succeeded)
        started = [(spec.seed, spec.attempt) for spec in engine.started]
        assert started == [(1, 2), (2, 1), (3, 1), (4, 1), (5, 1)]


actions = st.lists(
    st.tuples(
        st.sampled_from(["cancel", "lose", "lose-early", "start", "note", "succeed", "room", "turn", "forget"]),
        st.integers(0, 2),
    ),
    max_size=25,
)


async def play(engine: FakeEngine, service: RunService, runs: list[str], action: str, which: int) -> None:
    run = runs[which]
    if action == "cancel":
        await service.cancel(run)
    elif action == "room":
        engine.capacity = 1 + which
        service._live.room_changed()
    elif action == "turn":
        await asyncio.sleep(0.002)
    elif run in engine.runs:
        match action:
            case "lose" | "lose-early":
                engine.lose(run, started=action == "lose")
            case "start":
                engine.emit(run, Started("cpu", engine.runs[run].attempt))
            case "note":
                engine.emit(run, Note("still here"))
            case "succeed":
                engine.emit(run, DONE, Note("too late"))
            case "forget":
                del engine.runs[run]


@settings(max_examples=60, deadline=None)
@given(script=actions)
def test_whatever_happens_each_run_has_one_terminal_event_and_a_dense_log(script: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        engine = FakeEngine(capacity=1)
        async with run_service(engine) as service:
            records = [await service.submit(request(max_restarts=i)) for i in range(3)]
            runs = [record.id for record in records]
            for action, which in script:
                await play(engine, service, runs, action, which)
            for run in runs:
                await service.cancel(run)
            for run in runs:
                async with asyncio.timeout(10):
                    await end_of(service, run)

    asyncio.run(scenario())


@in_loop
async def test_a_full_lane_holds_up_nobody_in_another() -> None:
    engine = FakeEngine(capacity=1)
    async with run_service(engine) as service:
        first = await service.submit(request(technique="own.first"))
        waits = await service.submit(request(technique="own.second"))
        passes = await service.submit(request(technique="saliency"))
        await eventually(lambda: passes.id in engine.runs)
        assert set(engine.runs) == {first.id, passes.id}
        engine.emit(first.id, Started("cpu"), DONE)
        await eventually(lambda: waits.id in engine.runs)
