"""Whether a store is whole: every blob's bytes, every reference, every log, and the database itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.exc import DatabaseError

from convscope_server.images.blobs import BlobInfo, Blobs, digest_of
from convscope_server.images.set_store import set_contents, sets
from convscope_server.runs.events import Event, Preview, Result, is_terminal
from convscope_server.runs.run import state_after
from convscope_server.runs.schema import contents, events, runs
from convscope_server.storage.place import Place

__all__ = ["Verified", "verify"]

_CHUNK = 2**20
_decode = msgspec.msgpack.Decoder(Event).decode


@dataclass(slots=True)
class Verified:
    """What was looked at, and what is wrong with it, a line each."""

    runs: int = 0
    events: int = 0
    blobs: int = 0
    damages: list[str] = field(default_factory=list)


def verify(place: Place) -> Verified:
    """Read all of a store and change nothing. What a server does meanwhile is no damage.

    Raises:
        NoStoreError, StoreVersionError: as of `Place.snapshot`.
    """
    found = Verified()
    references: dict[str, str] = {}
    try:
        with place.snapshot() as connection:
            found.damages += _database(connection)
            _runs(connection, found)
            references = dict(_references(connection))
    except (DatabaseError, msgspec.DecodeError) as error:
        found.damages.append(f"the database cannot be read: {getattr(error, 'orig', error)}")
    whole = set(_blobs(place.blobs, found))
    lost = {digest: who for digest, who in references.items() if digest not in whole}
    for digest in sorted(_still_referred(place, lost)):
        if not any(digest in damage for damage in found.damages):
            found.damages.append(f"{digest} is missing; {lost[digest]} refers to it")
    return found


def _database(connection: Connection) -> Iterator[str]:
    """What the database finds wrong with itself."""
    if connection.dialect.name != "sqlite":
        return
    for (said,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if said != "ok":
            yield f"the database is damaged: {said}"
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"the database is damaged: row {row} of {table} refers to nothing in {parent}"


def _runs(connection: Connection, found: Verified) -> None:
    """Every log dense, readable, and ended once where its run has ended."""
    columns = (runs.c.id, runs.c.state, runs.c.last_sequence, runs.c.end_time)
    for run in connection.execute(select(*columns).order_by(runs.c.number)).all():
        found.runs += 1
        found.damages += [f"run {run.id}: {what}" for what in _log(connection, run, found)]


def _log(connection: Connection, run: Any, found: Verified) -> Iterator[str]:
    query = select(events.c.sequence, events.c.payload).where(events.c.run == run.id).order_by(events.c.sequence)
    expected, last = 1, None
    for row in connection.execution_options(stream_results=True).execute(query):
        found.events += 1
        if row.sequence != expected:
            yield f"events {expected} to {row.sequence - 1} are missing"
        elif last is not None and is_terminal(last):
            yield f"event {row.sequence} follows its end"
        expected = row.sequence + 1
        try:
            last = _decode(row.payload)
        except msgspec.DecodeError as error:
            last = None
            yield f"event {row.sequence} cannot be read: {error}"
            continue
        if isinstance(last, Preview | Result) and last.artifact.content is not None:
            actual = digest_of(last.artifact.content)
            if actual != last.artifact.digest:
                yield f"event {row.sequence} holds {actual}, not {last.artifact.digest}"
    if expected <= run.last_sequence:
        yield f"events {expected} to {run.last_sequence} are missing"
    ended = last is not None and is_terminal(last)
    if ended != (run.end_time is not None) or (ended and last is not None and state_after(last) != run.state):
        yield f"it is {run.state}, and its last event is {'none' if last is None else type(last).__name__}"


def _references(connection: Connection) -> Iterator[tuple[str, str]]:
    """Every digest that something refers to, and what does."""
    for digest, run in connection.execute(select(contents.c.digest, contents.c.run)):
        yield digest, f"run {run}"
    of_sets = select(set_contents.c.digest, sets.c.name).join(sets, sets.c.number == set_contents.c.image_set)
    for digest, name in connection.execute(of_sets):
        yield digest, f"image set {name!r}"


def _blobs(blobs: Blobs, found: Verified) -> Iterator[str]:
    """The blobs that are whole or were removed while they were read."""
    for folder in blobs.folders():
        for blob in blobs.listed(folder):
            found.blobs += 1
            damage = _damage(blobs, blob)
            if damage:
                found.damages.append(damage)
            else:
                yield blob.digest


def _damage(blobs: Blobs, blob: BlobInfo) -> str:
    if not blob.digest:
        return f"{blob.path} is no blob of this store"
    whole = hashlib.sha256()
    try:
        for start in range(0, max(blob.size_bytes, 1), _CHUNK):
            whole.update(blobs.read(blob.path, start, _CHUNK))
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{blob.digest} cannot be read: {error.strerror}"
    actual = whole.hexdigest()
    return (
        "" if blob.digest.endswith(actual) else f"{blob.digest} is damaged: its bytes have the digest sha256:{actual}"
    )


def _still_referred(place: Place, digests: Iterable[str]) -> set[str]:
    """Those that something refers to now: a server may have removed runs while blobs were read."""
    wanted = set(digests)
    if not wanted:
        return set()
    with place.snapshot() as connection:
        return wanted & {digest for digest, _ in _references(connection)}
