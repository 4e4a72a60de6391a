"""The tables of the store, and how a database is opened. SQLite's own statements are all on this page."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    make_url,
    select,
)
from sqlalchemy.pool import StaticPool

__all__ = [
    "SCHEMA_VERSION",
    "StoreVersionError",
    "contents",
    "events",
    "is_in_memory",
    "labels",
    "make_tables",
    "open_database",
    "runs",
]

SCHEMA_VERSION = 1

_metadata = MetaData()

_meta = Table("meta", _metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

# `number` is the order of submission: what pages and recovery go by.
runs = Table(
    "runs",
    _metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("state", String(16), nullable=False, index=True),
    Column("technique", String, nullable=False, index=True),
    Column("model", String, nullable=False, index=True),
    Column("request_id", String, nullable=False, unique=True),
    Column("fingerprint", String(64), nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("create_time", Double, nullable=False),
    Column("start_time", Double),
    Column("end_time", Double),
    Column("attempts", Integer, nullable=False, default=0),
    Column("last_sequence", BigInteger, nullable=False, default=0),
    Column("error", LargeBinary),
)


def _run_key() -> Column[Any]:
    return Column("run", String(32), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


labels = Table(
    "run_labels",
    _metadata,
    _run_key(),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    Index("run_labels_by_value", "key", "value"),
)

events = Table(
    "run_events",
    _metadata,
    _run_key(),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("terminal", Boolean, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

# Whatever goes wrong elsewhere, no run has two terminal events.
Index(
    "run_events_one_end",
    events.c.run,
    unique=True,
    sqlite_where=events.c.terminal,
    postgresql_where=events.c.terminal,
)

# Which blobs of the content store a run refers to; `made`: it made them, as results too large for the log.
contents = Table(
    "run_contents",
    _metadata,
    _run_key(),
    Column("digest", String, primary_key=True, index=True),
    Column("made", Boolean, primary_key=True),
)


class StoreVersionError(RuntimeError):
    """The database was written by another version of convscope."""


def is_in_memory(url: str) -> bool:
    """Whether the URL names a SQLite database that lives in this process alone."""
    parsed = make_url(url)
    return parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}


def open_database(url: str) -> Engine:
    """A pool of connections to the database at a SQLAlchemy URL; SQLite is set up for one writer, many readers."""
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    options: dict[str, Any] = {"connect_args": {"check_same_thread": False}}
    if is_in_memory(url):
        options["poolclass"] = StaticPool
    database = create_engine(url, **options)
    event.listen(database, "connect", _set_up_sqlite)
    return database


def make_tables(database: Engine) -> None:
    """Make the tables that are missing.

    Raises:
        StoreVersionError: the database has tables of another version.
    """
    _metadata.create_all(database)
    with database.begin() as connection:
        found = connection.execute(select(_meta.c.value).where(_meta.c.key == "schema_version")).scalar()
        if found is None:
            connection.execute(insert(_meta).values(key="schema_version", value=str(SCHEMA_VERSION)))
        elif found != str(SCHEMA_VERSION):
            raise StoreVersionError(
                f"the run store has schema version {found}, this convscope reads version {SCHEMA_VERSION}; "
                "start the convscope that wrote it, or give this one another data directory"
            )


def _set_up_sqlite(connection: Any, _: object) -> None:
    """WAL: readers never wait for the writer. NORMAL: a killed process loses nothing, a power cut the newest events."""
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
