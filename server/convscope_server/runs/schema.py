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
    UniqueConstraint,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy.pool import StaticPool

from convscope_server.runs.postgres import open_postgres

__all__ = [
    "METADATA",
    "SCHEMA_VERSION",
    "StoreVersionError",
    "contents",
    "events",
    "holdings",
    "is_in_memory",
    "labels",
    "make_tables",
    "open_database",
    "require_this_version",
    "runs",
]

SCHEMA_VERSION = 2
_VERSION_KEY = "schema_version"

METADATA = MetaData()
"""Every table of the store."""

_meta = Table("meta", METADATA, Column("key", String, primary_key=True), Column("value", String, nullable=False))

# `number` is the order of submission: what pages and recovery go by.
runs = Table(
    "runs",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("state", String(16), nullable=False, index=True),
    Column("owner", String, nullable=False, server_default="", index=True),
    Column("technique", String, nullable=False, index=True),
    Column("model", String, nullable=False, index=True),
    Column("request_id", String, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("identity", String(64), index=True),
    Column("request", LargeBinary, nullable=False),
    Column("create_time", Double, nullable=False),
    Column("start_time", Double),
    Column("end_time", Double),
    Column("attempts", Integer, nullable=False, default=0),
    Column("last_sequence", BigInteger, nullable=False, default=0),
    Column("device_seconds", Double, nullable=False, server_default="0"),
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),
    Column("error", LargeBinary),
    UniqueConstraint("owner", "request_id", name="runs_one_for_a_request"),
)


def _run_key() -> Column[Any]:
    return Column("run", String(32), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


labels = Table(
    "run_labels",
    METADATA,
    _run_key(),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    Index("run_labels_by_value", "key", "value"),
)

events = Table(
    "run_events",
    METADATA,
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
    METADATA,
    _run_key(),
    Column("digest", String, primary_key=True, index=True),
    Column("made", Boolean, primary_key=True),
)

# Whose uploads lie in the content store: a principal may name only digests that they sent, or that a run of theirs
# refers to.
holdings = Table(
    "holdings",
    METADATA,
    Column("owner", String, primary_key=True),
    Column("digest", String, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
)


class StoreVersionError(RuntimeError):
    """The database was written by another version of convscope."""


def is_in_memory(url: str) -> bool:
    """Whether the URL names a SQLite database that lives in this process alone."""
    parsed = make_url(url)
    return parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}


def open_database(url: str) -> Engine:
    """A pool of connections to the database at a SQLAlchemy URL; SQLite is set up for one writer, many readers.

    Raises:
        StoreUnreachableError: PostgreSQL's driver is not installed.
    """
    if make_url(url).get_backend_name() == "postgresql":
        return open_postgres(url)
    options: dict[str, Any] = {"connect_args": {"check_same_thread": False}}
    if is_in_memory(url):
        options["poolclass"] = StaticPool
    database = create_engine(url, **options)
    event.listen(database, "connect", _set_up_sqlite)
    return database


def make_tables(database: Engine) -> None:
    """Make the tables that are missing, or bring those of an older version up to this one.

    Raises:
        StoreVersionError: the database has tables of a newer version, or was left by a change that broke off.
    """
    if inspect(database).has_table(_meta.name):
        _upgrade(database)
        return
    with database.begin() as connection:
        METADATA.create_all(connection)
        connection.execute(insert(_meta).values(key=_VERSION_KEY, value=str(SCHEMA_VERSION)))


def require_this_version(database: Engine) -> None:
    """Lets through a database that needs no upgrade.

    Raises:
        StoreVersionError: it has another version's tables, or none.
    """
    version = _version(database) if inspect(database).has_table(_meta.name) else 0
    if version != SCHEMA_VERSION:
        raise StoreVersionError(
            f"the run store has schema version {version}, not {SCHEMA_VERSION}; a server of this version brings an "
            "older one up to date when it starts"
        )


def _upgrade(database: Engine) -> None:
    from convscope_server.runs.migrations import upgrade

    version = _version(database)
    if version < SCHEMA_VERSION:
        upgrade(database, version, SCHEMA_VERSION)


def _version(database: Engine) -> int:
    """The version of the tables that are there."""
    with database.connect() as connection:
        found = connection.execute(select(_meta.c.value).where(_meta.c.key == _VERSION_KEY)).scalar()
    version = int(found) if found is not None and found.isdigit() else 0
    if not 0 < version <= SCHEMA_VERSION:
        raise StoreVersionError(
            f"the run store has schema version {found}, this convscope reads up to version {SCHEMA_VERSION}; "
            "start the convscope that wrote it, or give this one another data directory"
        )
    return version


def _set_up_sqlite(connection: Any, _: object) -> None:
    """WAL: readers never wait for the writer. NORMAL: a killed process loses nothing, a power cut the newest events."""
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
