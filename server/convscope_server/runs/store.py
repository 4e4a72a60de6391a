"""Runs and their events in a database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Never, TypeVar

from sqlalchemy import Connection, Row, Select, delete, func, insert, not_, or_, select, update

from convscope_server.errors import RequestError
from convscope_server.room import needs_room
from convscope_server.runs import schema
from convscope_server.runs.events import Checkpointed, Event, Preview, Result, Updated
from convscope_server.runs.pages import matching, number_of, token_of
from convscope_server.runs.postgres import reached, used
from convscope_server.runs.rows import changes, encode, entry_of, record_of, row_of
from convscope_server.runs.run import LoggedEvent, RunFilter, RunRecord, RunRequest, fingerprint, steered
from convscope_server.runs.schema import contents, events, holdings, labels, runs
from convscope_server.runs.session import session_of
from convscope_server.runs.skips import Skips
from convscope_server.runs.writer import Writer

__all__ = ["RunPage", "RunStore", "no_run"]

T = TypeVar("T")

RunPage = tuple[list[RunRecord], str]

_SKIPPABLE = ("preview", "progress")
_AT_ONCE = 500  # digests in one statement


class RunStore:
    """Runs and events, in SQLite ("sqlite:///runs.db", "sqlite://" in memory) or PostgreSQL ("postgresql://…").

    Whatever was awaited is committed. Writes go through one thread, which commits those that wait together.
    """

    def __init__(self, url: str) -> None:
        self._in_memory = schema.is_in_memory(url)
        self._database = schema.open_database(url)
        # An in-memory database is one connection, which threads must take in turn.
        self._guard: AbstractContextManager[Any] = threading.Lock() if self._in_memory else nullcontext()
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="run-store-reader")
        self._writer: Writer | None = None
        self._session = session_of(self._database)

    @property
    def taken(self) -> Future[Never]:
        """Never has a result; fails with DatabaseLockedError once another server has the database."""
        return self._session.taken

    def open(self) -> None:
        """Connect, and make the tables that are missing. Blocks.

        Raises:
            StoreVersionError: the tables are another version's.
            DatabaseLockedError, StoreUnreachableError: a database by URL is another server's, or does not answer.
            RequestError: RESOURCE_EXHAUSTED, STORAGE_FULL.
        """
        with needs_room(), reached(self._database):
            self._session.open()
            schema.make_tables(self._database)
        self._writer = Writer(self._session, self._guard)

    def close(self) -> None:
        """Finish what was asked for and disconnect. Blocks."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._readers.shutdown()
        self._session.close()
        self._database.dispose()

    async def insert(self, record: RunRecord, entries: Sequence[LoggedEvent]) -> tuple[RunRecord, bool]:
        """Keep a new run with its first entries; gives it and True, or the run of the same request and False.

        Raises:
            RequestError: ALREADY_EXISTS, REQUEST_ID_REUSED: by another request.
        """
        mark = fingerprint(record.request)
        found = await self.write(lambda connection: _insert(connection, record, mark, entries))
        return (record, True) if found is None else (_same(found, mark), False)

    async def find(self, request: RunRequest) -> RunRecord | None:
        """The run that a request with this request id made, or None.

        Raises:
            RequestError: ALREADY_EXISTS, REQUEST_ID_REUSED: another request made it.
        """
        query = select(runs).where(*_by_request(request))
        found = await self.read(lambda connection: connection.execute(query).first())
        return None if found is None else _same(found, fingerprint(request))

    async def append(self, run: str, entries: Sequence[LoggedEvent], *, device_seconds: float = 0.0) -> bool:
        """Put entries behind a run's log, and bring its state and its cost along, in one transaction.

        False, and nothing is kept, where the run has ended, is gone, or its log does not reach to the first entry.
        The same entries again change nothing.
        """
        return await self.write(lambda connection: _append(connection, run, entries, device_seconds))

    async def events(self, run: str, *, after: int, through: int, skips: Skips, limit: int) -> list[LoggedEvent]:
        """At most `limit` entries with after < sequence <= through that `skips` does not leave out, in order."""
        query = (
            select(events.c.sequence, events.c.time, events.c.payload)
            .where(events.c.run == run, events.c.sequence > after, events.c.sequence <= through)
            .where(*_sent(skips))
            .order_by(events.c.sequence)
            .limit(limit)
        )
        return await self.read(lambda connection: [entry_of(run, row) for row in connection.execute(query)])

    async def newest(self, run: str) -> tuple[int, int]:
        """Sequences of the newest preview and the newest progress, 0 where there is none."""
        query = (
            select(events.c.kind, func.max(events.c.sequence))
            .where(events.c.run == run, events.c.kind.in_(_SKIPPABLE))
            .group_by(events.c.kind)
        )
        found = await self.read(lambda connection: {row[0]: row[1] for row in connection.execute(query)})
        return found.get("preview", 0), found.get("progress", 0)

    async def checkpoint(self, run: str) -> Checkpointed | None:
        """The newest checkpoint that was kept of a run, or None."""
        query = (
            select(events.c.sequence, events.c.time, events.c.payload)
            .where(events.c.run == run, events.c.kind == "checkpointed")
            .order_by(events.c.sequence.desc())
            .limit(1)
        )
        row = await self.read(lambda connection: connection.execute(query).first())
        found = None if row is None else entry_of(run, row).event
        return found if isinstance(found, Checkpointed) else None

    async def get(self, run: str, *, owner: str | None = None) -> RunRecord:
        """A run; somebody else's is not found, where `owner` is given.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND.
        """
        query = select(runs).where(runs.c.id == run)
        found = await self.read(lambda connection: connection.execute(query).first())
        if found is None or owner not in {None, found.owner}:
            raise no_run(run)
        return record_of(found)

    async def page(self, where: RunFilter, *, page_size: int, page_token: str = "") -> RunPage:
        """A page of runs, newest first, and the token of the next page, "" on the last.

        Raises:
            RequestError: INVALID_ARGUMENT, PAGE_TOKEN_INVALID.
        """
        query = select(runs).where(*matching(where)).order_by(runs.c.number.desc()).limit(page_size + 1)
        if page_token:
            query = query.where(runs.c.number < number_of(page_token))
        rows = await self.read(lambda connection: list(connection.execute(query)))
        token = token_of(rows[page_size - 1].number) if len(rows) > page_size else ""
        return [record_of(row) for row in rows[:page_size]], token

    async def alive(self) -> list[tuple[RunRecord, int]]:
        """The runs that have not ended, first come first, each with the number of its attempts so far."""
        query = select(runs).where(runs.c.end_time.is_(None)).order_by(runs.c.number)
        rows = await self.read(lambda connection: list(connection.execute(query)))
        return [(record_of(row), row.attempts) for row in rows]

    async def referred(self, digests: Iterable[str]) -> set[str]:
        """Those of some blobs that a run refers to."""
        wanted = list(digests)
        found: set[str] = set()
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            query = select(contents.c.digest).where(contents.c.digest.in_(some)).distinct()
            found |= await self.read(partial(_digests, query))
        return found

    async def delete(self, run: str) -> list[str]:
        """Forget an ended run; gives the digests of the blobs it made that nothing else refers to.

        Raises:
            RequestError: NOT_FOUND, RUN_NOT_FOUND.
        """
        orphans = await self.write(lambda connection: _delete(connection, run))
        if orphans is None:
            raise no_run(run)
        return orphans

    async def succeeded(self, identity: str) -> RunRecord | None:
        """The newest run of an identity that has ended well, or None."""
        query = select(runs).where(runs.c.identity == identity, runs.c.state == "succeeded")
        newest = query.order_by(runs.c.number.desc()).limit(1)
        found = await self.read(lambda connection: connection.execute(newest).first())
        return None if found is None else record_of(found)

    async def hold(self, owner: str, digest: str, size_bytes: int) -> None:
        """Remember that a blob is (also) this owner's."""
        query = select(holdings.c.digest).where(holdings.c.owner == owner, holdings.c.digest == digest)

        def work(connection: Connection) -> None:
            if connection.execute(query).first() is None:
                connection.execute(insert(holdings), {"owner": owner, "digest": digest, "size_bytes": size_bytes})

        await self.write(work)

    async def stored_bytes(self, owner: str) -> int:
        """Bytes of the runs and uploads that are kept for an owner."""
        of_runs = select(func.coalesce(func.sum(runs.c.stored_bytes), 0)).where(runs.c.owner == owner)
        sent = select(func.coalesce(func.sum(holdings.c.size_bytes), 0)).where(holdings.c.owner == owner)
        return await self.read(lambda c: int(c.execute(of_runs).scalar_one()) + int(c.execute(sent).scalar_one()))

    async def device_seconds_since(self, moment: float) -> list[tuple[str, float, float]]:
        """(owner, Unix time of the end, device seconds) of each run that ended after `moment`."""
        query = select(runs.c.owner, runs.c.end_time, runs.c.device_seconds).where(runs.c.end_time > moment)
        return await self.read(
            lambda c: [(row[0], row[1], row[2]) for row in c.execute(query.order_by(runs.c.end_time))]
        )

    async def held(self, owner: str, digests: Iterable[str]) -> set[str]:
        """Those of `digests` that the owner sent, or that a run of theirs refers to."""
        wanted = set(digests)
        sent = select(holdings.c.digest).where(holdings.c.owner == owner, holdings.c.digest.in_(wanted))
        referred = (
            select(contents.c.digest)
            .join(runs, runs.c.id == contents.c.run)
            .where(runs.c.owner == owner, contents.c.digest.in_(wanted))
        )
        return await self.read(lambda connection: set(connection.execute(sent.union(referred)).scalars()))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is committed. `work` may be called twice and changes nothing in memory.

        Raises:
            RequestError: RESOURCE_EXHAUSTED, STORAGE_FULL; UNAVAILABLE, STORE_AWAY.
        """
        assert self._writer is not None, "the store is open"
        with needs_room(), used(self._database):
            return await self._writer.run(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` finds.

        Raises:
            RequestError: UNAVAILABLE, STORE_AWAY.
        """
        with used(self._database):
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read_now, work)

    def _read_now(self, work: Callable[[Connection], T]) -> T:
        with self._guard, self._database.connect() as connection:
            return work(connection)


def _insert(connection: Connection, record: RunRecord, mark: str, entries: Sequence[LoggedEvent]) -> Row[Any] | None:
    request = record.request
    found = connection.execute(select(runs).where(*_by_request(request))).first()
    if found is not None:
        return found
    row = {
        "id": record.id,
        "state": record.state,
        "owner": request.owner,
        "technique": request.technique,
        "model": request.model,
        "request_id": request.request_id,
        "fingerprint": mark,
        "identity": record.identity or None,
        "request": encode(request),
        "create_time": record.create_time,
        "last_sequence": len(entries),
    }
    connection.execute(insert(runs), row)
    connection.execute(insert(events), [row_of(entry) for entry in entries])
    if request.labels:
        connection.execute(
            insert(labels), [{"run": record.id, "key": k, "value": v} for k, v in request.labels.items()]
        )
    _refer(connection, record.id, [*request.inputs.values(), *request.image_sets.values()], made=False)
    return None


def _by_request(request: RunRequest) -> list[Any]:
    """Request ids are each owner's own: nobody learns of another's by guessing it."""
    return [runs.c.request_id == request.request_id, runs.c.owner == request.owner]


def _append(connection: Connection, run: str, entries: Sequence[LoggedEvent], device_seconds: float) -> bool:
    open_here = (
        runs.c.id == run,
        runs.c.end_time.is_(None),
        runs.c.last_sequence == entries[0].sequence - 1,
    )
    made = [entry.event.artifact for entry in entries if isinstance(entry.event, Preview | Result)]
    apart = [artifact for artifact in made if artifact.content is None]
    rows = [row_of(entry) for entry in entries]
    size = sum(len(row["payload"]) for row in rows) + sum(artifact.size_bytes for artifact in apart)
    cost = {"stored_bytes": runs.c.stored_bytes + size, "device_seconds": device_seconds}
    if connection.execute(update(runs).where(*open_here).values(changes(entries) | cost)).rowcount != 1:
        return _are_there(connection, rows)
    connection.execute(insert(events), rows)
    _steer(connection, run, [entry.event for entry in entries])
    _refer(connection, run, [artifact.digest for artifact in apart], made=True)
    return True


def _steer(connection: Connection, run: str, found: Sequence[Event]) -> None:
    """Bring the request along where its parameters have changed. It is like no other from then on."""
    if not any(isinstance(event, Updated) for event in found):
        return
    row = connection.execute(select(runs).where(runs.c.id == run)).one()
    request = record_of(row).request
    changed = steered(request, found)
    if changed is not request:
        connection.execute(update(runs).where(runs.c.id == run).values(request=encode(changed), identity=None))


def _are_there(connection: Connection, rows: Sequence[dict[str, Any]]) -> bool:
    """Whether just these entries end the log: a commit whose answer was lost, and which is tried again."""
    first = rows[0]
    query = select(events.c.sequence, events.c.time, events.c.payload).where(
        events.c.run == first["run"], events.c.sequence >= first["sequence"]
    )
    found = [tuple(row) for row in connection.execute(query.order_by(events.c.sequence))]
    return found == [(row["sequence"], row["time"], row["payload"]) for row in rows]


def _refer(connection: Connection, run: str, digests: Iterable[str], *, made: bool) -> None:
    wanted = set(digests)
    if not wanted:
        return
    known = select(contents.c.digest).where(
        contents.c.run == run, contents.c.made == made, contents.c.digest.in_(wanted)
    )
    new = wanted - set(connection.execute(known).scalars())
    if new:
        connection.execute(insert(contents), [{"run": run, "digest": d, "made": made} for d in sorted(new)])


def _digests(query: Select[Any], connection: Connection) -> set[str]:
    return set(connection.execute(query).scalars())


def _delete(connection: Connection, run: str) -> list[str] | None:
    made = connection.execute(select(contents.c.digest).where(contents.c.run == run, contents.c.made))
    digests = set(made.scalars())
    ended = delete(runs).where(runs.c.id == run, runs.c.end_time.is_not(None))
    if connection.execute(ended).rowcount != 1:
        return None
    still = select(contents.c.digest).where(contents.c.digest.in_(digests))
    sent = select(holdings.c.digest).where(holdings.c.digest.in_(digests))
    return sorted(digests - set(connection.execute(still.union(sent)).scalars()))


def _sent(skips: Skips) -> list[Any]:
    """`not skips.leave_out(…)` in SQL."""
    conditions: list[Any] = []
    if skips.previews:
        conditions.append(events.c.kind != "preview")
    if skips.through:
        seen = or_(events.c.sequence > skips.through, events.c.sequence.in_(skips.keep))
        conditions.append(or_(not_(events.c.kind.in_(_SKIPPABLE)), seen))
    return conditions


def _same(row: Row[Any], mark: str) -> RunRecord:
    if row.fingerprint != mark:
        raise RequestError.of(
            "ALREADY_EXISTS",
            "REQUEST_ID_REUSED",
            f"request id {row.request_id!r} was used for another request, which made run {row.id}; "
            "choose a new id for a new request",
            metadata={"run": row.id},
        )
    return record_of(row)


def no_run(run: str) -> RequestError:
    """The refusal for a run that there is not, or that is somebody else's: the two look alike."""
    message = f"no run {run!r}, or not any more: this server may keep runs only so long; ListRuns names those there are"
    return RequestError.of("NOT_FOUND", "RUN_NOT_FOUND", message, metadata={"run": run})
