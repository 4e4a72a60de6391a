"""What retention asks of the database and changes in it, in SQL."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select

from convscope_server.runs.schema import contents, events, holdings, runs

__all__ = ["Forgotten", "forget", "let_go", "log_bytes", "oldest", "referred"]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A run that is not in the database any more.

    Attributes:
        digests: The blobs that it referred to.
        log_bytes: Length of its events together.
    """

    run: str
    digests: frozenset[str]
    log_bytes: int


def oldest(connection: Connection, limit: int, before: float | None = None) -> list[str]:
    """Ended runs, the earliest end first; those that ended before a Unix time where it is given."""
    ended = runs.c.end_time.is_not(None) if before is None else runs.c.end_time < before
    query = select(runs.c.id).where(ended).order_by(runs.c.end_time, runs.c.number).limit(limit)
    return list(connection.execute(query).scalars())


def forget(connection: Connection, run: str) -> Forgotten | None:
    """Remove an ended run with its log; None where there is none."""
    digests = frozenset(connection.execute(select(contents.c.digest).where(contents.c.run == run)).scalars())
    size = connection.execute(select(func.sum(func.length(events.c.payload))).where(events.c.run == run)).scalar()
    ended = delete(runs).where(runs.c.id == run, runs.c.end_time.is_not(None))
    if connection.execute(ended).rowcount != 1:
        return None
    return Forgotten(run, digests, int(size or 0))


def log_bytes(connection: Connection) -> int:
    """Length of all events together."""
    return int(connection.execute(select(func.sum(func.length(events.c.payload)))).scalar() or 0)


def referred(connection: Connection, digests: Collection[str]) -> set[str]:
    """Those of some blobs, a few hundred, that a run refers to."""
    query = select(contents.c.digest).where(contents.c.digest.in_(digests)).distinct()
    return set(connection.execute(query).scalars())


def let_go(connection: Connection, digests: Collection[str]) -> None:
    """Nobody holds these uploads any more: they are gone."""
    connection.execute(delete(holdings).where(holdings.c.digest.in_(digests)))
