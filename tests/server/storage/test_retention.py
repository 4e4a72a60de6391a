from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from convscope_server.engine.engine import Catalog
from convscope_server.engine.messages import ModelInfo, TechniqueInfo
from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore, digest_of
from convscope_server.runs.events import Succeeded
from convscope_server.runs.run import LoggedEvent
from convscope_server.runs.schema import events
from convscope_server.runs.skips import Skips
from convscope_server.storage import records
from convscope_server.storage.archive import Archive
from convscope_server.storage.limits import KeepLimits
from convscope_server.storage.reserve import Reserve
from convscope_server.storage.retention import Tidied
from convscope_server.storage.tidying import Tidying
from support import databases
from support.aio import eventually, in_loop
from support.fake_engine import FakeEngine, steps
from support.keeping import KeptRun, KeptStore
from support.run_house import request, run_service, watched

pytestmark = pytest.mark.usefixtures("each_database")

GRACE = 1000.0
PICTURES = [bytes([i]) * 100 for i in range(6)]


async def not_found(doing: Awaitable[object]) -> str:
    with pytest.raises(RequestError) as refusal:
        await doing
    assert (refusal.value.error.code, refusal.value.error.reason) == ("NOT_FOUND", "RUN_NOT_FOUND")
    return refusal.value.error.message


async def log_bytes(kept: KeptStore) -> int:
    return await kept.archive.runs.read(records.log_bytes)


@in_loop
async def test_a_run_that_ended_too_long_ago_goes_with_its_log_and_its_blobs(tmp_path: Path) -> None:
    async with KeptStore.opened(tmp_path, KeepLimits(seconds=100, upload_seconds=GRACE), databases.fresh()) as kept:
        old, live = await kept.submit([PICTURES[0]]), await kept.submit([PICTURES[0], PICTURES[1]])
        await kept.result(old, PICTURES[2])
        await kept.end(old)
        kept.now += 99
        assert not await kept.archive.retention().tidy()
        kept.now += 2
        tidied = await kept.archive.retention().tidy()
        assert (tidied.runs, tidied.blob_bytes) == ((old.id,), 100)
        assert tidied.log_bytes > 100
        await not_found(kept.archive.runs.get(old.id))
        assert await kept.archive.runs.events(old.id, after=0, through=99, skips=Skips(), limit=99) == []
        assert kept.gone(kept.blobs) == old.digests - live.digests


@in_loop
async def test_beyond_the_bytes_those_go_that_ended_first_and_no_more_than_must(tmp_path: Path) -> None:
    async with KeptStore.opened(tmp_path, KeepLimits(), databases.fresh()) as kept:
        runs = [await kept.submit() for _ in range(4)]
        for run, data in zip(runs, PICTURES, strict=False):
            await kept.result(run, data * 1000)
        for run in (runs[2], runs[0], runs[1]):  # the last one lives
            kept.now += 1
            await kept.end(run)
        room = await log_bytes(kept) + 400_000
        for bound, expected in ((room, ()), (room - 1, (runs[2].id,)), (200_000, (runs[0].id, runs[1].id))):
            archive = Archive(kept.archive.runs, kept.archive.image_sets, kept.content, KeepLimits(bytes=bound))
            assert (await archive.retention().tidy()).runs == expected


@in_loop
async def test_an_upload_stays_while_somebody_may_still_want_it(tmp_path: Path) -> None:
    async with KeptStore.opened(tmp_path, KeepLimits(upload_seconds=GRACE), databases.fresh()) as kept:
        first, second = await kept.send(PICTURES[0]), await kept.send(PICTURES[1])
        await kept.begin_upload(PICTURES[2])
        await kept.archive.runs.hold("ada", first, 100)
        kept.now += GRACE - 1
        await kept.find(second)
        kept.now += 2
        assert (await kept.archive.retention().tidy()).blob_bytes == 100
        assert kept.gone([first, second]) == {first}
        assert await kept.archive.runs.held("ada", [first]) == set()
        assert await kept.archive.runs.stored_bytes("ada") == 0
        assert kept.gone(await kept.end_uploads()) == set()


@in_loop
async def test_the_pictures_of_a_deleted_set_stay_as_long_as_a_run_looks_at_them(tmp_path: Path) -> None:
    async with KeptStore.opened(tmp_path, KeepLimits(seconds=10, upload_seconds=GRACE), databases.fresh()) as kept:
        await kept.make_set("mine", PICTURES[:3])
        members = set(kept.sets["mine"])
        run = await kept.submit(sets=["mine"])
        await kept.delete_set("mine")
        kept.now += 2 * GRACE
        await kept.archive.retention().tidy()
        assert kept.gone(members) == set()
        await kept.end(run)
        kept.now += 11
        await kept.archive.retention().tidy()
        assert kept.gone(members) == members


@in_loop
async def test_a_watcher_of_a_removed_run_is_told_that_it_was_removed(tmp_path: Path) -> None:
    archive = Archive.at(databases.fresh(), f"memory://{uuid4().hex}", KeepLimits(seconds=1e-9))
    engine = FakeEngine(script=steps(200))
    async with run_service(engine, store=archive.runs, content=archive.content) as service:
        archive.image_sets.open()
        record = await service.submit(request())
        await watched(service, record.id)
        stream = service.watch(record.id)
        assert isinstance(await anext(stream), LoggedEvent)
        assert (await archive.retention().tidy()).runs == (record.id,)
        message = await not_found(_to_the_end(stream))
        assert "removed while it was watched" in message
        assert "keep runs only so long" in await not_found(watched(service, record.id))
        archive.image_sets.close()


@in_loop
async def test_a_run_whose_log_another_one_repeats_goes_when_that_has_it_all() -> None:
    archive = Archive.at(databases.fresh(), f"memory://{uuid4().hex}", KeepLimits(seconds=1e-9))
    archive.image_sets.open()
    catalog = Catalog(
        {"grad_cam": TechniqueInfo("grad_cam", "", "{}", revision="1")},
        {"tiny": ModelInfo("tiny", "classifier", "folder", version="1")},
    )
    engine = FakeEngine(script=steps(600, content=bytes(2_000_000)), catalog=catalog)
    async with run_service(engine, store=archive.runs, content=archive.content) as service:
        retention = archive.retention(service.parting)
        first = (await service.submit(request())).id
        made = await watched(service, first, every_preview=True)
        second = (await service.submit(request())).id
        tidied = await retention.tidy()
        assert first in tidied.runs
        await not_found(service.get(first))
        again = await service.submit(request())
        logs = [made]
        if second not in tidied.runs:
            logs.append(await watched(service, second, every_preview=True))
        logs.append(await watched(service, again.id, every_preview=True))
        for log in logs:
            assert isinstance(log[-1], LoggedEvent)
            assert isinstance(log[-1].event, Succeeded)
    archive.image_sets.close()


async def _to_the_end(stream: object) -> None:
    async for _ in stream:  # type: ignore[attr-defined]
        pass


@in_loop
async def test_what_breaks_off_between_database_and_disk_is_found_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with KeptStore.opened(tmp_path, KeepLimits(seconds=10, upload_seconds=GRACE), databases.fresh()) as kept:
        run = await kept.submit()
        await kept.result(run, PICTURES[0])
        await kept.end(run)
        kept.now += GRACE + 1

        async def killed(*_: object) -> int:
            raise OSError("pulled the plug")

        with monkeypatch.context() as patched:
            patched.setattr(ContentStore, "drop", killed)
            with pytest.raises(OSError, match="plug"):
                await kept.archive.retention().tidy()
        assert (await kept.archive.retention().tidy()).blob_bytes == 100
        assert kept.gone(run.digests) == run.digests


@in_loop
async def test_a_server_tidies_again_and_again_and_survives_what_goes_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Moody:
        times = 0

        async def tidy(self) -> Tidied:
            self.times += 1
            if self.times == 1:
                raise OSError("no such disk")
            return Tidied(runs=("a",))

    moody = Moody()
    with caplog.at_level("INFO"):
        tidying = Tidying(moody, 0.001, Reserve(None))  # type: ignore[arg-type]  # removes nothing
        tidying.start()
        await eventually(lambda: moody.times > 3)
        await tidying.close()
    assert "could not tidy the store" in caplog.text
    assert "removed 1 runs" in caplog.text


PICTURE = st.sampled_from(PICTURES)
NAME = st.sampled_from("ab")
STEP = st.one_of(
    st.tuples(st.just("send"), PICTURE),
    st.tuples(st.just("find"), PICTURE),
    st.tuples(st.just("upload"), st.binary(min_size=2, max_size=9)),
    st.tuples(st.just("submit"), st.lists(PICTURE, max_size=2), st.lists(NAME, max_size=1)),
    st.tuples(st.just("result"), st.integers(0, 9), PICTURE),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("make"), NAME, st.lists(PICTURE, min_size=1, max_size=3)),
    st.tuples(st.just("unmake"), NAME),
    st.tuples(st.just("delete"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 60.0, 500.0, GRACE + 1, -300.0])),
    st.tuples(st.just("tidy")),
)
LIMITS = st.builds(
    KeepLimits,
    seconds=st.sampled_from([0.0, 50.0, 600.0]),
    bytes=st.sampled_from([0, 300, 700]),
    upload_seconds=st.just(GRACE),
)


async def submit(kept: KeptStore, pictures: list[bytes], sets: list[str]) -> None:
    await kept.submit(pictures, sets)


async def live_run(kept: KeptStore, number: int, doing: Callable[[KeptRun], Awaitable[None]]) -> None:
    live = [run for run in kept.runs.values() if run.end is None]
    if live:
        await doing(live[number % len(live)])


async def delete(kept: KeptStore, number: int) -> None:
    ended = [run for run in kept.runs.values() if run.end is not None]
    if ended:
        await kept.delete_run(ended[number % len(ended)])


async def wait(kept: KeptStore, seconds: float) -> None:
    kept.now += seconds


async def sizes_of_logs(kept: KeptStore) -> dict[str, int]:
    query = select(events.c.run, func.sum(func.length(events.c.payload))).group_by(events.c.run)
    return await kept.archive.runs.read(lambda connection: {row[0]: row[1] for row in connection.execute(query)})


def doomed(kept: KeptStore, logs: dict[str, int]) -> list[KeptRun]:
    """Takes what lies beyond the bounds out of the clerk's books; gives it, first the earliest."""
    ended = sorted((run for run in kept.runs.values() if run.end is not None), key=lambda run: run.end or 0)
    limits, going = kept.limits, []

    def taken() -> int:
        return sum(logs[run] for run in kept.runs) + sum(len(kept.blobs[digest]) for digest in kept.of_runs())

    for run in ended:
        assert run.end is not None
        too_old = limits.seconds and run.end < kept.now - limits.seconds
        if too_old or (limits.bytes and taken() > limits.bytes):
            going.append(kept.runs.pop(run.id))
    return going


async def tidy(kept: KeptStore) -> None:
    going = doomed(kept, await sizes_of_logs(kept))
    tidied = await kept.archive.retention().tidy()
    assert list(tidied.runs) == [run.id for run in going]
    for run in going:
        await not_found(kept.archive.runs.get(run.id))
        assert await kept.archive.runs.events(run.id, after=0, through=99, skips=Skips(), limit=99) == []
    stay = kept.needed() | kept.leased()
    old = {digest for digest, seen in kept.seen.items() if seen < kept.now - kept.limits.upload_seconds}
    go = {digest for run in going for digest in run.digests} | old
    assert kept.gone(stay) == set()
    assert kept.gone(go - stay) == go - stay


_DO: dict[str, Callable[..., Awaitable[object]]] = {
    "send": KeptStore.send,
    "find": lambda kept, data: kept.find(digest_of(data)),
    "upload": KeptStore.begin_upload,
    "submit": submit,
    "result": lambda kept, number, data: live_run(kept, number, lambda run: kept.result(run, data)),
    "end": lambda kept, number: live_run(kept, number, kept.end),
    "make": KeptStore.make_set,
    "unmake": KeptStore.delete_set,
    "delete": delete,
    "wait": wait,
    "tidy": tidy,
}


def test_whatever_happens_what_is_needed_stays_and_what_is_beyond_the_bounds_goes(each_database: str) -> None:
    @settings(max_examples=30 if each_database == "sqlite" else 10)
    @given(limits=LIMITS, script=st.lists(STEP, min_size=4, max_size=25))
    def check(limits: KeepLimits, script: list[tuple[Any, ...]]) -> None:
        async def scenario() -> None:
            with tempfile.TemporaryDirectory() as folder:
                async with KeptStore.opened(Path(folder), limits, databases.fresh()) as kept:
                    for word, *arguments in [*script, ("tidy",)]:
                        await _DO[word](kept, *arguments)
                        assert kept.gone(kept.needed()) == set()
                    assert kept.gone(await kept.end_uploads()) == set()

        asyncio.run(scenario())

    check()
