"""Which image sets clients uploaded, and which blobs they are made of."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    insert,
    select,
)

from convscope_server.room import needs_room
from convscope_server.runs.postgres import used
from convscope_server.runs.schema import open_database

__all__ = ["ImageSetStore", "UploadedSet", "set_contents", "sets"]

T = TypeVar("T")

_metadata = MetaData()
sets = Table(
    "image_sets",
    _metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("owner", String, nullable=False),
    Column("name", String, nullable=False),
    Column("manifest", String, nullable=False),
    Column("pictures", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("labels", Text, nullable=False),
    Column("create_time", Double, nullable=False),
    UniqueConstraint("owner", "name"),
)
set_contents = Table(
    "image_set_contents",
    _metadata,
    Column("image_set", BigInteger, ForeignKey("image_sets.number", ondelete="CASCADE"), primary_key=True),
    Column("digest", String, primary_key=True, index=True),
)
_AT_ONCE = 500  # digests in one statement


@dataclass(frozen=True, slots=True)
class UploadedSet:
    """An image set that a client made.

    Attributes:
        manifest: Digest of its manifest.
        labels: How many of its pictures have each label, by column.
        owner: Whose it is; "" while nobody signs in.
    """

    name: str
    manifest: str
    count: int
    size_bytes: int
    create_time: float
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    owner: str = ""


class ImageSetStore:
    """Uploaded image sets, in the database at a SQLAlchemy URL. Work is done in threads, one call at a time."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url)
        self._lock = threading.Lock()

    def open(self) -> None:
        """Connect, and make the tables that are missing. Blocks."""
        with needs_room():
            _metadata.create_all(self._database)

    def close(self) -> None:
        """Disconnect. Blocks."""
        self._database.dispose()

    async def all(self, scope: str | None = None) -> list[UploadedSet]:
        """The sets of an owner, or everyone's where `scope` is None, by name."""
        query = select(sets).where(*_within(scope)).order_by(sets.c.name, sets.c.number)
        return await self._do(lambda connection: [_read(row) for row in connection.execute(query)])

    async def find(self, name: str, scope: str | None = None) -> UploadedSet | None:
        """The set of that name that an owner has, or that anyone has, the oldest first, where `scope` is None."""
        query = select(sets).where(sets.c.name == name, *_within(scope)).order_by(sets.c.number)

        def work(connection: Connection) -> UploadedSet | None:
            row = connection.execute(query).first()
            return None if row is None else _read(row)

        return await self._do(work)

    async def put(self, new: UploadedSet, digests: Collection[str]) -> list[str]:
        """Keep a set made of these blobs, in the place of one of its name; gives the blobs that no set needs now."""

        def work(connection: Connection) -> list[str]:
            before = _forget(connection, new.name, new.owner)
            row = {key: getattr(new, key) for key in ("owner", "name", "manifest", "size_bytes", "create_time")}
            row |= {"pictures": new.count, "labels": json.dumps(new.labels)}
            number = connection.execute(insert(sets).values(**row)).inserted_primary_key
            assert number is not None
            rows = [{"image_set": number[0], "digest": digest} for digest in {*digests, new.manifest}]
            connection.execute(insert(set_contents), rows)
            return sorted(before - _referred(connection, before))

        return await self._do(work)

    async def delete(self, name: str, owner: str = "") -> list[str]:
        """Forget a set; gives the blobs that no set needs now."""

        def work(connection: Connection) -> list[str]:
            before = _forget(connection, name, owner)
            return sorted(before - _referred(connection, before))

        return await self._do(work)

    async def referred(self, digests: Iterable[str]) -> set[str]:
        """Those of the blobs that a set is made of."""
        wanted = set(digests)
        return await self._do(lambda connection: _referred(connection, wanted))

    async def _do(self, work: Callable[[Connection], T]) -> T:
        def locked() -> T:
            with self._lock, self._database.begin() as connection:
                return work(connection)

        with needs_room(), used(self._database):
            return await asyncio.to_thread(locked)


def _within(scope: str | None) -> list[ColumnElement[bool]]:
    return [] if scope is None else [sets.c.owner == scope]


def _forget(connection: Connection, name: str, owner: str) -> set[str]:
    number = connection.execute(select(sets.c.number).where(sets.c.owner == owner, sets.c.name == name)).scalar()
    if number is None:
        return set()
    digests = set(connection.execute(select(set_contents.c.digest).where(set_contents.c.image_set == number)).scalars())
    connection.execute(delete(sets).where(sets.c.number == number))
    return digests


def _referred(connection: Connection, digests: Collection[str]) -> set[str]:
    wanted = list(digests)
    found: set[str] = set()
    for start in range(0, len(wanted), _AT_ONCE):
        query = (
            select(set_contents.c.digest).where(set_contents.c.digest.in_(wanted[start : start + _AT_ONCE])).distinct()
        )
        found.update(connection.execute(query).scalars())
    return found


def _read(row: Row[tuple[object, ...]]) -> UploadedSet:
    labels = json.loads(row.labels)
    return UploadedSet(row.name, row.manifest, row.pictures, row.size_bytes, row.create_time, labels, row.owner)
