from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from convscope_server.runs import schema
from convscope_server.runs.events import (
    Accepted,
    Error,
    Event,
    Failed,
    Note,
    Preview,
    Progress,
    Queued,
    Report,
    Started,
    Succeeded,
)
from convscope_server.runs.run import LoggedEvent, RunRecord
from convscope_server.runs.schema import StoreVersionError
from convscope_server.runs.skips import Skips
from convscope_server.runs.store import RunStore
from support import databases
from support.aio import in_loop
from support.fake_engine import artifact
from support.run_house import request

pytestmark = pytest.mark.usefixtures("each_database")

DONE = Succeeded(Report())


@asynccontextmanager
async def opened(url: str = "") -> AsyncIterator[RunStore]:
    store = RunStore(url or databases.fresh())
    store.open()
    try:
        yield store
    finally:
        await asyncio.to_thread(store.close)


@contextmanager
def sql(path: Path) -> Iterator[Engine]:
    """The database as somebody else sees it."""
    database = create_engine(f"sqlite:///{path}")
    yield database
    database.dispose()


async def new_run(store: RunStore) -> str:
    run = uuid4().hex
    record = RunRecord(run, "queued", request(request_id=uuid4().hex), time.time(), last_sequence=2)
    await store.insert(record, logged(run, 1, Accepted("x"), Queued(0)))
    return run


def logged(run: str, first: int, *events: Event) -> list[LoggedEvent]:
    return [LoggedEvent(run, first + i, 1.5, each) for i, each in enumerate(events)]


async def whole(store: RunStore, run: str) -> list[LoggedEvent]:
    return await store.events(run, after=0, through=2**31, skips=Skips(), limit=10_000)


@pytest.mark.parametrize("kind", ["file", "fresh"])
@in_loop
async def test_what_is_appended_at_once_by_many_is_all_there_in_order(kind: str, tmp_path: Path) -> None:
    url = databases.fresh() if kind == "fresh" else f"sqlite:///{tmp_path / 'runs.db'}"
    async with opened(url) as store:
        runs = [await new_run(store) for _ in range(10)]

        async def write(run: str) -> None:
            for i in range(20):
                assert await store.append(run, logged(run, 3 + i, Note(f"{run} {i}")))
                assert len(await store.events(run, after=2 + i, through=99, skips=Skips(), limit=9)) == 1

        await asyncio.gather(*(write(run) for run in runs))
        for run in runs:
            entries = await whole(store, run)
            assert [entry.sequence for entry in entries] == list(range(1, 23))
            assert [entry.event for entry in entries[2:]] == [Note(f"{run} {i}") for i in range(20)]
            assert (await store.get(run)).last_sequence == 22


@in_loop
async def test_waiting_appends_share_transactions() -> None:
    async with opened() as store:
        runs = [await new_run(store) for _ in range(100)]
        commits: list[object] = []
        event.listen(store._database, "commit", commits.append)
        await asyncio.gather(*(store.append(run, logged(run, 3, Note("x"))) for run in runs))
        assert len(commits) < 20


@in_loop
async def test_one_that_fails_does_not_take_the_others_of_its_transaction_along() -> None:
    async with opened() as store:
        runs = [await new_run(store) for _ in range(10)]
        twice = logged(runs[4], 3, Note("x")) * 2
        outcomes = await asyncio.gather(
            *(store.append(run, twice if run == runs[4] else logged(run, 3, Note("x"))) for run in runs),
            return_exceptions=True,
        )
        assert isinstance(outcomes[4], IntegrityError)
        assert outcomes[:4] + outcomes[5:] == [True] * 9
        assert [(await store.get(run)).last_sequence for run in runs] == [3] * 4 + [2] + [3] * 5


@in_loop
async def test_nothing_is_appended_behind_the_end_with_a_hole_twice_or_to_no_run() -> None:
    async with opened() as store:
        run = await new_run(store)
        assert not await store.append(run, logged(run, 4, Note("hole")))
        assert not await store.append(run, logged(run, 2, Note("twice")))
        assert not await store.append("0" * 32, logged("0" * 32, 1, Note("nobody")))
        assert await store.append(run, logged(run, 3, DONE))
        assert not await store.append(run, logged(run, 4, Failed(Error("INTERNAL", "again", "X"))))
        assert [type(entry.event) for entry in await whole(store, run)] == [Accepted, Queued, Succeeded]


@in_loop
async def test_the_same_entries_again_change_nothing_and_are_known() -> None:
    """A commit whose answer was lost is tried again."""
    async with opened() as store:
        run = await new_run(store)
        entries = logged(run, 3, Note("once"), DONE)
        assert await store.append(run, entries)
        assert await store.append(run, entries)
        assert not await store.append(run, entries[:1])
        assert not await store.append(run, logged(run, 3, Note("twice"), DONE))
        assert len(await whole(store, run)) == 4
        assert (await store.get(run)).last_sequence == 4


@in_loop
async def test_the_database_itself_refuses_a_second_terminal_event(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with opened(f"sqlite:///{path}") as store:
        run = await new_run(store)
        await store.append(run, logged(run, 3, DONE))
    row = {"run": run, "sequence": 4, "time": 0.0, "kind": "failed", "terminal": True, "payload": b""}
    with sql(path) as database, pytest.raises(IntegrityError), database.begin() as connection:
        connection.execute(insert(schema.events), row)


@in_loop
async def test_state_times_attempts_and_error_follow_the_events() -> None:
    async with opened() as store:
        run = await new_run(store)
        error = Error("UNAVAILABLE", "gone", "WORKER_LOST", {"device": "cpu"})
        await store.append(run, [LoggedEvent(run, 3, 10.0, Started("cpu", 1))])
        assert (await store.alive())[0][1] == 1
        await store.append(run, [LoggedEvent(run, 4, 20.0, Started("cpu", 2))])
        record, attempts = (await store.alive())[0]
        assert (record.state, record.start_time, record.end_time, attempts) == ("running", 10.0, None, 2)
        await store.append(run, [LoggedEvent(run, 5, 30.0, Failed(error))])
        record = await store.get(run)
        assert (record.state, record.start_time, record.end_time) == ("failed", 10.0, 30.0)
        assert (record.error, record.last_sequence) == (error, 5)
        assert await store.alive() == []


def test_the_database_leaves_out_exactly_what_the_rule_leaves_out() -> None:
    makers: dict[str, Event] = {"progress": Progress(1), "preview": Preview(artifact()), "note": Note("x")}
    store = RunStore(databases.fresh())  # one for all examples
    store.open()

    @settings(max_examples=50)
    @given(
        kinds=st.lists(st.sampled_from(sorted(makers)), max_size=12),
        skips=st.builds(
            Skips,
            previews=st.booleans(),
            through=st.integers(0, 16),
            keep=st.sets(st.integers(1, 16), max_size=2).map(tuple),
        ),
        after=st.integers(0, 8),
    )
    def check(kinds: list[str], skips: Skips, after: int) -> None:
        async def scenario() -> None:
            run = await new_run(store)
            await store.append(run, logged(run, 3, *(makers[kind] for kind in kinds), DONE))
            entries = await whole(store, run)
            expected = [e for e in entries if e.sequence > after and not skips.leave_out(e)]
            assert await store.events(run, after=after, through=99, skips=skips, limit=99) == expected
            newest = [
                max((e.sequence for e in entries if isinstance(e.event, t)), default=0) for t in (Preview, Progress)
            ]
            assert list(await store.newest(run)) == newest

        asyncio.run(scenario())

    check()
    store.close()


@in_loop
async def test_a_store_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with opened(f"sqlite:///{path}"):
        pass
    async with opened(f"sqlite:///{path}"):
        pass
    with sql(path) as database, database.begin() as connection:
        connection.execute(text("UPDATE meta SET value = '999' WHERE key = 'schema_version'"))
    store = RunStore(f"sqlite:///{path}")
    with pytest.raises(StoreVersionError, match=r"999.*data directory"):
        store.open()
    store.close()


@in_loop
async def test_sqlite_runs_in_wal_and_keeps_references(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'runs.db'}") as store:
        with store._database.connect() as connection:
            found = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "foreign_keys")]
        assert found == ["wal", 1]


@in_loop
async def test_a_database_that_another_holds_is_waited_for_and_then_reported(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with opened(f"sqlite:///{path}") as store:
        run = await new_run(store)

        @event.listens_for(store._database, "begin")
        def _be_quick(connection: Connection) -> None:
            connection.exec_driver_sql("PRAGMA busy_timeout=50")

        with sql(path) as database, database.begin() as connection:
            connection.execute(update(schema.runs).values(model="other"))
            with pytest.raises(OperationalError, match="locked"):
                await store.append(run, logged(run, 3, Note("x")))
        assert await store.append(run, logged(run, 3, Note("x")))
        with sql(path) as database, database.connect() as connection:
            assert connection.execute(select(schema.runs.c.model)).scalar() == "other"
