"""No room left: nothing new is taken on, what runs fails and says why, nothing is hurt, and it passes by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from convscope.cli import exits
from convscope.cli.app import build
from convscope_server.images.blobs import Blobs
from convscope_server.images.content import ContentStore, digest_of
from convscope_server.room import Room, StorageFullError, says_full
from convscope_server.runs import appender, dispatcher
from convscope_server.runs.events import Failed, Note, Report, Result, Started, Succeeded
from convscope_server.runs.limits import RunLimits
from convscope_server.runs.run import LoggedEvent
from convscope_server.runs.service import RunService
from convscope_server.runs.store import RunStore
from convscope_server.storage import records
from convscope_server.storage.archive import Archive
from convscope_server.storage.gc import collect
from convscope_server.storage.limits import KeepLimits
from convscope_server.storage.place import Place
from convscope_server.storage.reserve import Reserve
from convscope_server.storage.tidying import Tidying
from convscope_server.storage.verify import verify
from support.aio import eventually, in_loop
from support.fake_engine import FakeEngine, artifact
from support.keeping import absent
from support.run_house import assert_whole_log, request, run_service, watched

FULL = ("RESOURCE_EXHAUSTED", "STORAGE_FULL")
LARGE = os.urandom(300_000)
HUGE = request(params={"note": "x" * 3_000_000})  # what is left in a page, or in SQLite's journal, is no room for it


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope_server.room._PAUSE", 0.2)
    monkeypatch.setattr(appender, "_LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(dispatcher, "_UNTIL_ROOM", 0.05)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 512, 1):
            pieces = iter(lambda size=size: file.write(bytes(size)), 0)  # type: ignore[misc]
            with pytest.raises(OSError, match="No space left"):
                deque(pieces, maxlen=0)
    return ballast


async def upload_of(store: ContentStore, data: bytes) -> None:
    async with store.upload(digest_of(data)) as upload:
        for start in range(0, len(data), 1000):
            await upload.write(data[start : start + 1000])
        await upload.commit()


async def refused(doing: Any) -> None:
    with pytest.raises(StorageFullError) as refusal:
        await doing
    assert (refusal.value.error.code, refusal.value.error.reason) == FULL
    assert "convscope admin gc" in refusal.value.error.message


async def submitted(service: RunService) -> str:
    """A run, as soon as one is accepted."""
    async with asyncio.timeout(10):
        while True:
            try:
                return (await service.submit(request())).id
            except StorageFullError:
                await asyncio.sleep(0.05)


async def runs_well(service: RunService, engine: FakeEngine) -> None:
    run = await submitted(service)
    await eventually(lambda: run in engine.runs)
    engine.emit(run, Started("cpu"), Result(artifact("x", LARGE)), Succeeded(Report()))
    items = await watched(service, run)
    assert_whole_log(items)
    assert isinstance(items[-1], LoggedEvent)
    assert items[-1].event == Succeeded(Report())


@in_loop
async def test_on_a_full_disk_runs_fail_new_ones_are_refused_and_it_passes_by_itself(disk: Path) -> None:
    place = Place(disk, f"sqlite:///{disk / 'runs.db'}", str(disk / "content"))
    archive = Archive.at(place.database, place.content, KeepLimits())
    await asyncio.to_thread(archive.image_sets.open)
    engine = FakeEngine(capacity=2)
    async with run_service(engine, store=archive.runs, content=archive.content) as service:
        await runs_well(service, engine)
        large, small, waiting = [(await service.submit(request())).id for _ in range(3)]
        await eventually(lambda: len(engine.runs) == 2)
        ballast = fill(disk)
        engine.emit(large, Started("cpu"), Result(artifact("x", os.urandom(2_000_000))))
        engine.emit(small, Started("cpu"), *(Result(artifact(str(i), LARGE[i:])) for i in range(5)))
        await eventually(lambda: {run for run, _ in engine.cancelled} == {large, small})
        await refused(service.submit(HUGE))
        await refused(upload_of(archive.content, LARGE[1:]))
        assert waiting not in engine.runs
        ballast.unlink()
        for run in (large, small):
            items = await watched(service, run)
            assert_whole_log(items)
            assert isinstance(items[-1], LoggedEvent)
            assert isinstance(items[-1].event, Failed)
            assert (items[-1].event.error.code, items[-1].event.error.reason) == FULL
        await eventually(lambda: waiting in engine.runs)
        engine.emit(waiting, Started("cpu"), Succeeded(Report()))
        await runs_well(service, engine)
    await asyncio.to_thread(archive.image_sets.close)
    found = await asyncio.to_thread(verify, place)
    assert (found.damages, found.runs) == ([], 5)
    assert list((disk / "content" / "incoming").iterdir()) == []


@in_loop
async def _run_of_long_ago(place: Place, made: list[str]) -> None:
    archive = Archive.at(place.database, place.content, KeepLimits())
    await asyncio.to_thread(archive.image_sets.open)
    engine = FakeEngine()
    async with run_service(engine, store=archive.runs, content=archive.content) as service:
        await runs_well(service, engine)
        made.append(engine.started[0].id)
    await asyncio.to_thread(archive.image_sets.close)


@pytest.mark.parametrize("running", [True, False])
def test_old_runs_can_be_removed_from_a_full_disk(disk: Path, *, running: bool) -> None:
    place, limits = Place(disk, f"sqlite:///{disk / 'runs.db'}", str(disk / "content")), KeepLimits(seconds=1e-9)
    made: list[str] = []
    _run_of_long_ago(place, made)
    reserve = Reserve(disk)
    reserve.keep()
    if running:
        with place.alone(limits) as archive:
            ballast = fill(disk)
            asyncio.run(_tidied_once(archive, reserve))
    else:
        ballast = fill(disk)
        assert collect(place, limits).runs == tuple(made)
    assert ballast.exists()
    with place.snapshot() as connection:
        assert records.oldest(connection, 10) == []
    assert verify(place).damages == []


async def _tidied_once(archive: Archive, reserve: Reserve) -> None:
    tidying = Tidying(archive.retention(), 3600, reserve)
    await tidying._tidy()


def test_where_nothing_at_all_can_be_written_gc_says_so(disk: Path) -> None:
    place = Place(disk, f"sqlite:///{disk / 'runs.db'}", str(disk / "content"))
    _run_of_long_ago(place, [])
    fill(disk)
    done = CliRunner().invoke(build(), ["admin", "gc", "--keep-seconds", "0.001", "--data", str(disk)])
    assert (done.exit_code, done.stderr.count("\n")) == (exits.REFUSED, 1)
    assert "free a few MiB and try again" in done.stderr


@asynccontextmanager
async def bounded(url: str, engine: FakeEngine, pages: list[int]) -> AsyncIterator[RunService]:
    """A service whose database may have so many pages: SQLite itself says that the disk is full."""
    store = RunStore(url)

    @event.listens_for(store._database, "begin")
    def _bound(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages[-1]}")

    async with run_service(engine, store=store, limits=RunLimits(inline_bytes=1 << 20)) as service:
        yield service


@in_loop
async def test_a_database_that_is_full_is_a_full_disk(tmp_path: Path) -> None:
    engine, pages = FakeEngine(), [1 << 30]
    async with bounded(f"sqlite:///{tmp_path / 'runs.db'}", engine, pages) as service:
        run = (await service.submit(request())).id
        await eventually(lambda: run in engine.runs)
        engine.emit(run, Started("cpu"), Note("before"))
        await eventually(lambda: service._live[run].log.last == 4)
        pages.append(1)  # no more than it has
        engine.emit(run, Result(artifact("x", LARGE)), Note("behind"), Succeeded(Report()))
        await eventually(lambda: not service._live or service._live[run].ending)
        await eventually(lambda: not service._live)
        items = await watched(service, run)
        assert_whole_log(items)
        texts = [i.event.text for i in items if isinstance(i, LoggedEvent) and isinstance(i.event, Note)]
        assert texts == ["before"]
        assert (await service.get(run)).error == StorageFullError().error
        await refused(service.submit(HUGE))
        pages.append(1 << 30)
        await runs_well(service, engine)


@in_loop
async def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ContentStore(str(tmp_path))

    def create(blobs: Blobs, path: str) -> Any:
        """A file on a device that is always full."""
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).symlink_to("/dev/full")
        return Path(path).open("wb")

    with monkeypatch.context() as patched:
        patched.setattr(Blobs, "create", create)
        await refused(store.put(LARGE))
        assert await store.room.is_full()
        async with store.upload(digest_of(LARGE)) as upload:
            await upload.write(b"a little")
            with pytest.raises(StorageFullError):
                await upload.commit()
    assert [path.name for path in tmp_path.rglob("*")] == ["incoming"]  # noqa: ASYNC240
    assert absent(store, [await store.put(LARGE)]) == []


@in_loop
async def test_new_runs_are_refused_before_the_last_byte_is_gone(tmp_path: Path) -> None:
    content = ContentStore(f"memory://{uuid4().hex}", room=Room(tmp_path, 1 << 60))
    async with run_service(FakeEngine(), content=content) as service:
        await refused(service.submit(request()))
        await refused(content.room.check())
    assert not await Room(tmp_path, 1).is_full()
    assert not await Room(tmp_path / "nowhere", 1 << 60).is_full()


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EIO, "x"), False),
        (OperationalError("INSERT", {}, Exception("locked")), False),
        (OperationalError("INSERT", {}, type("DiskFull", (Exception,), {"sqlstate": "53100"})()), True),
        (ValueError("x"), False),
    ],
)
def test_a_full_disk_is_told_from_other_trouble(error: Exception, *, full: bool) -> None:
    assert says_full(error) is full
