from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from convscope_server.engine.messages import RunSpec
from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore, digest_of
from convscope_server.runs.events import (
    Accepted,
    Failed,
    Progress,
    Queued,
    Report,
    Result,
    Started,
    Succeeded,
)
from convscope_server.runs.limits import RunLimits
from convscope_server.runs.run import LoggedEvent, RunFilter
from convscope_server.runs.service import RunService
from support import databases
from support.aio import eventually, in_loop
from support.fake_engine import FakeEngine, artifact, steps
from support.keeping import absent
from support.run_house import assert_whole_log, kinds, request, run_service, watched

pytestmark = pytest.mark.usefixtures("each_database")

DONE = Succeeded(Report())


def events_of(items: list[object]) -> list[object]:
    return [item.event for item in items if isinstance(item, LoggedEvent)]


@in_loop
async def test_a_run_is_accepted_queued_started_and_ended_and_its_record_follows() -> None:
    async with run_service(FakeEngine(script=steps(2))) as service:
        record = await service.submit(request(request_id="once", labels={"who": "me"}))
        assert (record.state, record.last_sequence) == ("queued", 2)
        items = await watched(service, record.id)
        assert_whole_log(items)
        assert kinds(items) == [
            *("Accepted", "Queued", "Started", "Progress", "Preview", "Progress", "Preview"),
            *("Result", "Succeeded"),
        ]
        assert events_of([*items])[:2] == [Accepted("once"), Queued(0)]
        ended = await service.get(record.id)
        assert (ended.state, ended.last_sequence, ended.error) == ("succeeded", 9, None)
        assert ended.request == record.request
        assert ended.start_time is not None
        assert ended.end_time is not None
        assert ended.create_time <= ended.start_time <= ended.end_time
        assert await watched(service, record.id, after_sequence=7) == items[7:]
        assert await watched(service, record.id, after_sequence=9) == []


@in_loop
async def test_many_watchers_of_a_live_run_see_the_same_log() -> None:
    async with run_service(FakeEngine(script=steps(30, seconds=0.001))) as service:
        record = await service.submit(request())
        seen = await asyncio.gather(*(watched(service, record.id, every_preview=True) for _ in range(5)))
        assert_whole_log(seen[0])
        assert all(items == seen[0] for items in seen)


@in_loop
async def test_watchers_only_see_what_is_stored() -> None:
    async with run_service(FakeEngine(script=steps(20))) as service:
        record = await service.submit(request())
        async for item in service.watch(record.id):
            assert isinstance(item, LoggedEvent)
            assert (await service.get(record.id)).last_sequence >= item.sequence


@in_loop
async def test_an_unknown_run_is_refused_everywhere() -> None:
    async with run_service(FakeEngine()) as service:
        nobody = uuid4().hex
        for action in (service.get(nobody), service.cancel(nobody), service.delete(nobody)):
            with pytest.raises(RequestError) as refusal:
                await action
            assert (refusal.value.error.code, refusal.value.error.reason) == ("NOT_FOUND", "RUN_NOT_FOUND")
        with pytest.raises(RequestError) as refusal:
            await anext(service.watch(nobody))
        assert refusal.value.error.reason == "RUN_NOT_FOUND"


@in_loop
async def test_a_request_id_makes_one_run_however_often_and_at_once_it_comes() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        same = [request(request_id="id", params={"a": 1, "b": 2}) for _ in range(20)]
        same.append(request(request_id="id", params={"b": 2, "a": 1}))
        records = await asyncio.gather(*(service.submit(r) for r in same))
        assert len({record.id for record in records}) == 1
        with pytest.raises(RequestError) as refusal:
            await service.submit(request(request_id="id", params={"a": 2}))
        assert refusal.value.error.code == "ALREADY_EXISTS"
        assert refusal.value.error.metadata == {"run": records[0].id}
        await eventually(lambda: len(engine.started) == 1)


@in_loop
async def test_runs_without_a_request_id_are_runs_of_their_own() -> None:
    async with run_service(FakeEngine()) as service:
        one, other = await service.submit(request()), await service.submit(request())
        assert one.id != other.id
        assert one.request.request_id != other.request.request_id


@in_loop
async def test_a_submission_survives_its_caller() -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        caller = asyncio.create_task(service.submit(request()))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await eventually(lambda: len(engine.started) == 1)


@in_loop
async def test_runs_start_in_the_order_in_which_they_came_as_there_is_room() -> None:
    engine = FakeEngine(capacity=1)
    async with run_service(engine) as service:
        records = [await service.submit(request(seed=i)) for i in range(4)]
        for n, record in enumerate(records, start=1):
            await eventually(partial(engine.runs.__contains__, record.id))
            assert len(engine.started) == n
            engine.emit(record.id, Started("cpu"), DONE)
        assert [spec.seed for spec in engine.started] == [0, 1, 2, 3]


@in_loop
async def test_queued_tells_how_many_runs_wait_in_front() -> None:
    async with run_service(FakeEngine(capacity=0)) as service:
        records = [await service.submit(request()) for _ in range(3)]
        records += await asyncio.gather(*(service.submit(request()) for _ in range(3)))
        positions = []
        for record in records:
            watching = service.watch(record.id, after_sequence=1)
            item = await anext(watching)
            assert isinstance(item, LoggedEvent)
            assert isinstance(item.event, Queued)
            positions.append(item.event.position)
            await watching.aclose()
        assert sorted(positions) == [0, 1, 2, 3, 4, 5]


@in_loop
async def test_a_full_queue_refuses_new_runs_but_not_repeated_ones() -> None:
    async with run_service(FakeEngine(capacity=0), limits=RunLimits(max_queued=2)) as service:
        first = await service.submit(request(request_id="first"))
        answers = await asyncio.gather(*(service.submit(request(seed=i)) for i in range(5)), return_exceptions=True)
        refusals = [answer for answer in answers if isinstance(answer, RequestError)]
        assert [refusal.error.reason for refusal in refusals] == ["QUEUE_FULL"] * 4
        assert refusals[0].error.code == "RESOURCE_EXHAUSTED"
        assert float(refusals[0].error.metadata["retry_after_seconds"]) > 0
        assert (await service.submit(request(request_id="first"))).id == first.id


@in_loop
async def test_images_reach_the_engine_as_bytes_with_their_digests() -> None:
    engine, content = FakeEngine(), ContentStore(f"memory://{uuid4().hex}")
    async with run_service(engine, content=content) as service:
        image, style = await content.put(b"image"), await content.put(b"style")
        asked = request(image=image, extra_images={"style": style}, seed=2**64 - 1, params={"k": 3})
        record = await service.submit(asked)
        await eventually(lambda: bool(engine.started))
        assert engine.started == [
            RunSpec(
                id=record.id,
                technique="grad_cam",
                model="tiny",
                params={"k": 3},
                seed=2**64 - 1,
                image=b"image",
                extra_images={"style": b"style"},
                input_digests={"image": image, "style": style},
            )
        ]


@in_loop
async def test_a_missing_image_fails_its_run_alone() -> None:
    engine = FakeEngine(script=steps(1))
    async with run_service(engine) as service:
        lost = await service.submit(request(image=digest_of(b"nowhere")))
        fine = await service.submit(request())
        ended = events_of([*await watched(service, lost.id)])[-1]
        assert isinstance(ended, Failed)
        assert ended.error.reason == "CONTENT_NOT_FOUND"
        assert kinds(await watched(service, fine.id))[-1] == "Succeeded"
        assert [spec.id for spec in engine.started] == [fine.id]


@in_loop
async def test_an_engine_that_breaks_on_a_run_fails_it_and_goes_on_with_the_next() -> None:
    class Broken(FakeEngine):
        def try_start(self, spec: RunSpec) -> bool:
            if spec.seed == 13:
                raise ZeroDivisionError
            return super().try_start(spec)

    async with run_service(Broken(script=steps(1))) as service:
        broken, fine = await service.submit(request(seed=13)), await service.submit(request())
        assert kinds(await watched(service, fine.id))[-1] == "Succeeded"
        await watched(service, broken.id)
        error = (await service.get(broken.id)).error
        assert error is not None
        assert (error.code, error.reason) == ("INTERNAL", "ENGINE_BROKEN")
        assert "ZeroDivision" not in error.message


@in_loop
async def test_large_results_lie_in_the_content_store_and_small_ones_in_the_log() -> None:
    content = ContentStore(f"memory://{uuid4().hex}")
    engine, large = FakeEngine(), bytes(2000)
    async with run_service(engine, content=content, limits=RunLimits(inline_bytes=1000)) as service:
        record = await service.submit(request())
        await eventually(lambda: bool(engine.runs))
        results = Result(artifact("large", large)), Result(artifact("small", bytes(1000)))
        engine.emit(record.id, Started("cpu"), *results, DONE)
        first, second = [e for e in events_of([*await watched(service, record.id)]) if isinstance(e, Result)]
        assert first.artifact.content is None
        assert first.artifact.digest == digest_of(large)
        assert first.artifact.size_bytes == 2000
        assert await content.get(first.artifact.digest) == large
        assert second.artifact.content == bytes(1000)


@in_loop
async def test_a_result_too_large_to_keep_fails_the_run_and_takes_it_off_the_engine() -> None:
    content = ContentStore(f"memory://{uuid4().hex}", max_bytes=1500)
    engine = FakeEngine()
    async with run_service(engine, content=content, limits=RunLimits(inline_bytes=1000)) as service:
        record = await service.submit(request())
        await eventually(lambda: bool(engine.runs))
        engine.emit(record.id, Started("cpu"), Result(artifact("huge", bytes(2000))), Progress(1))
        items = await watched(service, record.id)
        assert kinds(items)[2:] == ["Started", "Failed"]
        error = (await service.get(record.id)).error
        assert error is not None
        assert error.reason == "CONTENT_TOO_LARGE"
        await eventually(lambda: not engine.runs)


@in_loop
async def test_lists_are_newest_first_filtered_and_stable_while_runs_come() -> None:
    async with run_service(FakeEngine(script=steps(1))) as service:
        records = [
            await service.submit(request(technique=f"t{i % 2}", labels={"n": str(i % 3), "all": "yes"}))
            for i in range(7)
        ]
        ids = [record.id for record in reversed(records)]
        page, token = await service.list(RunFilter(), page_size=3)
        assert [record.id for record in page] == ids[:3]
        await service.submit(request())
        rest, end = await service.list(RunFilter(), page_size=50, page_token=token)
        assert [record.id for record in rest] == ids[3:]
        assert end == ""
        odd, _ = await service.list(RunFilter(technique="t1"))
        assert [record.id for record in odd] == [r.id for r in reversed(records[1::2])]
        both, _ = await service.list(RunFilter(labels={"n": "0", "all": "yes"}, technique="t0"))
        assert [record.id for record in both] == [records[6].id, records[0].id]
        assert await service.list(RunFilter(model="other")) == ([], "")
        for record in records:
            await watched(service, record.id)
        assert len((await service.list(RunFilter(state="succeeded", labels={"all": "yes"})))[0]) == 7
        exact, token = await service.list(RunFilter(labels={"all": "yes"}), page_size=7)
        assert (len(exact), token) == (7, "")


@pytest.mark.parametrize("token", ["nonsense", "!", "YmVmb3JlOng=", "aGVsbG8=", "é"])
@in_loop
async def test_a_page_token_that_no_page_gave_is_refused(token: str) -> None:
    async with run_service(FakeEngine()) as service:
        with pytest.raises(RequestError) as refusal:
            await service.list(RunFilter(), page_token=token)
        assert refusal.value.error.reason == "PAGE_TOKEN_INVALID"
        with pytest.raises(RequestError) as refusal:
            await service.list(RunFilter(), page_size=-1)
        assert refusal.value.error.reason == "PAGE_SIZE_INVALID"


async def _with_large_result(service: RunService, engine: FakeEngine, large: bytes, **changes: object) -> str:
    record = await service.submit(request(**changes))
    await eventually(lambda: record.id in engine.runs)
    engine.emit(record.id, Started("cpu"), Result(artifact("large", large)), DONE)
    await watched(service, record.id)
    return record.id


@in_loop
async def test_delete_takes_the_events_and_the_blobs_that_nothing_else_refers_to() -> None:
    content = ContentStore(f"memory://{uuid4().hex}")
    engine = FakeEngine()
    async with run_service(engine, content=content, limits=RunLimits(inline_bytes=10)) as service:
        image = await content.put(b"an uploaded image")
        one = await _with_large_result(service, engine, b"shared by two", image=image)
        two = await _with_large_result(service, engine, b"shared by two")
        three = await _with_large_result(service, engine, b"the input of one more")
        await _with_large_result(service, engine, b"x" * 50, image=digest_of(b"the input of one more"))
        shared, used = digest_of(b"shared by two"), digest_of(b"the input of one more")
        await service.delete(one)
        assert absent(content, [image, shared, used]) == []
        await service.delete(two)
        await service.delete(three)
        assert absent(content, [image, shared, used]) == [shared]
        with pytest.raises(RequestError) as refusal:
            await service.delete(one)
        assert refusal.value.error.reason == "RUN_NOT_FOUND"
        assert len((await service.list(RunFilter()))[0]) == 1


@in_loop
async def test_a_run_whose_end_can_be_read_can_be_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    async with run_service(engine) as service:
        append = service._store.append

        async def slow_to_return(*arguments: Any, **options: Any) -> bool:
            stored = await append(*arguments, **options)
            await asyncio.sleep(0.2)
            return stored

        record = await service.submit(request())
        await eventually(lambda: record.id in engine.runs)
        monkeypatch.setattr(service._store, "append", slow_to_return)
        engine.emit(record.id, Started("cpu"), DONE)
        while (await service.get(record.id)).state != "succeeded":  # noqa: ASYNC110 - nobody announces it sooner
            await asyncio.sleep(0.01)
        assert record.id in service._live
        await service.delete(record.id)


@in_loop
async def test_a_live_run_is_not_deleted() -> None:
    async with run_service(FakeEngine()) as service:
        record = await service.submit(request())
        with pytest.raises(RequestError) as refusal:
            await service.delete(record.id)
        assert (refusal.value.error.code, refusal.value.error.reason) == ("FAILED_PRECONDITION", "RUN_ALIVE")
        await service.cancel(record.id)
        await eventually(lambda: record.id not in service._live)
        await service.delete(record.id)


@in_loop
async def test_everything_is_still_there_after_a_restart(tmp_path: Path) -> None:
    url = databases.durable(tmp_path)
    async with run_service(FakeEngine(script=steps(3)), url=url) as service:
        record = await service.submit(request(labels={"a": "b"}, params={"x": [1, None, "s"]}))
        before = await watched(service, record.id)
    async with run_service(FakeEngine(), url=url) as service:
        assert await watched(service, record.id) == before
        found, _ = await service.list(RunFilter(labels={"a": "b"}))
        assert [r.request.params for r in found] == [{"x": [1, None, "s"]}]
