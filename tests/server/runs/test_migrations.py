"""A store of any earlier version is brought up to this one, whole or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, inspect, select, text

from convscope_server.runs import schema
from convscope_server.runs.events import Accepted, Report, Succeeded
from convscope_server.runs.migrations import revision, upgrade
from convscope_server.runs.run import RunFilter
from convscope_server.runs.schema import SCHEMA_VERSION, StoreVersionError
from convscope_server.runs.skips import Skips
from convscope_server.runs.store import RunStore
from support import databases
from support.run_house import request

STORES = Path(__file__).parent / "stores"
RUN = f"{1:032x}"


def store_of(version: int, folder: Path) -> str:
    """The URL of a store as an earlier convscope wrote it, in SQLite."""
    path = folder / "runs.db"
    database = sqlite3.connect(path)
    database.executescript((STORES / f"version-{version}.sql").read_text())
    database.close()
    return f"sqlite:///{path}"


def any_store_of(version: int, folder: Path) -> str:
    """Likewise in the kind of database that the test runs on: other kinds get the rows that SQLite has."""
    url, source = databases.fresh(), store_of(version, folder)
    if url == "sqlite://":
        return source
    written, copy = schema.open_database(source), schema.open_database(url)
    upgrade(copy, 0, version)
    tables = MetaData()
    tables.reflect(written)
    with written.connect() as rows, copy.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("DELETE FROM meta"))
        for table in tables.sorted_tables:
            found = [dict(row._mapping) for row in rows.execute(table.select())]
            if found:
                connection.execute(table.insert(), found)
    written.dispose()
    copy.dispose()
    return url


def test_there_is_a_store_of_every_earlier_version_to_try() -> None:
    assert {path.name for path in STORES.iterdir()} == {f"version-{n}.sql" for n in range(1, SCHEMA_VERSION)}


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
@pytest.mark.usefixtures("each_database")
async def test_runs_of_an_earlier_version_are_all_there_and_nobodys(version: int, tmp_path: Path) -> None:
    store = RunStore(any_store_of(version, tmp_path))
    await asyncio.to_thread(store.open)
    try:
        found, _ = await store.page(RunFilter(owner=""), page_size=10)
        assert [record.state for record in found] == ["queued", "succeeded"]
        log = await store.events(RUN, after=0, through=9, skips=Skips(), limit=9)
        assert [entry.sequence for entry in log] == [1, 2, 3, 4]
        assert log[0].event == Accepted("aaaaaaaa")
        assert log[-1].event == Succeeded(Report(scores={"loss": 0.25}))
        again = request(
            technique="saliency",
            params={"size": 96},
            image="sha256:" + "1" * 64,
            request_id="aaaaaaaa",
            labels={"who": "ada"},
        )
        assert (await store.find(again)) == found[1]
        await store.delete(RUN)
        assert await store.events(RUN, after=0, through=9, skips=Skips(), limit=9) == []
    finally:
        await asyncio.to_thread(store.close)


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
@pytest.mark.usefixtures("each_database")
def test_an_upgraded_store_has_the_tables_of_a_new_one(version: int, tmp_path: Path) -> None:
    database = schema.open_database(any_store_of(version, tmp_path))
    schema.make_tables(database)
    with database.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.METADATA) == [
            ("remove_table", table) for table in _alembics_own(context)
        ]
    database.dispose()


def _alembics_own(context: MigrationContext) -> list[object]:
    differences = compare_metadata(context, schema.METADATA)
    return [change[1] for change in differences if change[0] == "remove_table" and change[1].name == "alembic_version"]


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_revisions_alone_make_what_that_version_wrote(version: int, tmp_path: Path) -> None:
    made = create_engine(f"sqlite:///{tmp_path / 'made.db'}")
    upgrade(made, 0, version)
    written = create_engine(store_of(version, tmp_path))
    for database in (made, written):
        assert inspect(database).has_table("runs")
    names = set(inspect(written).get_table_names())
    assert set(inspect(made).get_table_names()) == {*names, "alembic_version"}
    for name in names:
        assert _columns(made, name) == _columns(written, name)
    made.dispose()
    written.dispose()


def _columns(database: object, table: str) -> list[tuple[str, str, bool]]:
    found = inspect(database).get_columns(table)  # type: ignore[attr-defined]
    return [(column["name"], str(column["type"]), column["nullable"]) for column in found]


def test_a_change_that_breaks_off_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    url = store_of(1, tmp_path)
    before = list(sqlite3.connect(tmp_path / "runs.db").iterdump())
    database = schema.open_database(url)
    with database.begin() as connection:  # what the revision wants to make is in its way
        connection.execute(text("CREATE TABLE holdings (surprise INTEGER)"))
    with pytest.raises(Exception, match="holdings"):
        schema.make_tables(database)
    with database.begin() as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        connection.execute(text("DROP TABLE holdings"))
    database.dispose()
    assert list(sqlite3.connect(tmp_path / "runs.db").iterdump()) == before


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, "new"])
def test_a_store_of_an_unknown_version_is_refused(version: object, tmp_path: Path) -> None:
    database = schema.open_database(store_of(1, tmp_path))
    with database.begin() as connection:
        connection.execute(text("UPDATE meta SET value = :v"), {"v": str(version)})
    with pytest.raises(StoreVersionError, match=f"version {version}.*another data directory"):
        schema.make_tables(database)
    database.dispose()


def test_a_new_store_says_this_version(tmp_path: Path) -> None:
    database = schema.open_database(f"sqlite:///{tmp_path / 'new.db'}")
    schema.make_tables(database)
    schema.make_tables(database)
    with database.connect() as connection:
        assert connection.execute(select(text("value")).select_from(text("meta"))).scalar() == str(SCHEMA_VERSION)
    assert revision(SCHEMA_VERSION) == f"{SCHEMA_VERSION:04}"
    database.dispose()
