"""The database goes away in the middle and comes back: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from convscope_server.errors import RequestError
from convscope_server.runs.events import Accepted
from convscope_server.runs.postgres import DatabaseLockedError, StoreAwayError, StoreUnreachableError
from convscope_server.runs.run import LoggedEvent, RunFilter, RunRecord, RunRequest
from convscope_server.runs.service import RunService
from convscope_server.runs.session import HeldSession
from convscope_server.runs.store import RunStore
from support.aio import eventually, in_loop
from support.fake_engine import FakeEngine, steps
from support.postgres import PostgresServer, postgres_server
from support.run_house import assert_whole_log, request, run_service, watched

RESTARTS = 4
CLIENTS = 6


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server that this test may hurt."""
    with postgres_server() as server:
        yield server


async def _accepted(service: RunService, asked: RunRequest) -> str:
    """The run, asked for under one request id until there is an answer."""
    while True:
        try:
            return (await service.submit(asked)).id
        except StoreAwayError:
            await asyncio.sleep(0.05)


async def _client(service: RunService, seed: int, stop: asyncio.Event) -> list[str]:
    dice, runs = random.Random(seed), []
    while not stop.is_set():
        runs.append(await _accepted(service, request(request_id=uuid4().hex, seed=dice.getrandbits(32))))
        await asyncio.sleep(dice.random() * 0.05)
    return runs


async def _whole_log(service: RunService, run: str) -> None:
    while True:
        try:
            return assert_whole_log(await watched(service, run, every_preview=True))
        except StoreAwayError:
            await asyncio.sleep(0.05)


@in_loop
async def test_every_accepted_run_ends_once_however_often_the_database_is_killed(own_postgres: PostgresServer) -> None:
    url, stop = own_postgres.fresh(), asyncio.Event()
    engine = FakeEngine(capacity=8, script=steps(5, seconds=0.01))
    async with run_service(engine, url=url) as service:
        clients = [asyncio.create_task(_client(service, seed, stop)) for seed in range(CLIENTS)]
        for _ in range(RESTARTS):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own_postgres.stop)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(own_postgres.start)
        await asyncio.sleep(0.3)
        stop.set()
        runs = [run for each in await asyncio.gather(*clients) for run in each]
        assert len(set(runs)) == len(runs) > 2 * CLIENTS * RESTARTS
        for run in runs:
            await _whole_log(service, run)
        stored, _ = await service.list(RunFilter(), page_size=1000)
        assert sorted(record.id for record in stored) == sorted(runs)
        assert {record.state for record in stored} == {"succeeded"}


class Forgetful(RunStore):
    """A database whose answer to the first insertion is lost on the way."""

    lost = False

    async def insert(self, record: RunRecord, entries: Sequence[LoggedEvent]) -> tuple[RunRecord, bool]:
        answer = await super().insert(record, entries)
        if not self.lost:
            self.lost = True
            raise StoreAwayError
        return answer


@in_loop
async def test_a_run_that_was_stored_and_not_answered_runs_when_it_is_asked_for_again() -> None:
    engine = FakeEngine(script=steps(2))
    async with run_service(engine, store=Forgetful("sqlite://")) as service:
        asked = request(request_id="once")
        with pytest.raises(StoreAwayError):
            await service.submit(asked)
        record, again = await asyncio.gather(service.submit(asked), service.submit(asked))
        assert record.id == again.id
        assert_whole_log(await watched(service, record.id))
        assert (await service.submit(asked)).state == "succeeded"
        assert len(engine.started) == 1


@in_loop
async def test_text_that_postgresql_does_not_take_is_an_invalid_request(postgres: PostgresServer) -> None:
    async with run_service(FakeEngine(capacity=0), url=postgres.fresh()) as service:
        for doing in (
            service.submit(request(labels={"a": "b\0"})),
            service.list(RunFilter(technique="\0")),
            service.get("\0"),
        ):
            with pytest.raises(RequestError) as refusal:
                await doing
            assert (refusal.value.error.code, refusal.value.error.reason) == ("INVALID_ARGUMENT", "REQUEST_INVALID")
        long = "auth0|" + "x" * 300
        assert (await service.submit(request(owner=long))).request.owner == long


def test_a_database_has_one_server_at_a_time(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    first, second, elsewhere = RunStore(url), RunStore(url), RunStore(postgres.fresh())
    first.open()
    with pytest.raises(DatabaseLockedError, match=r"options=.* is in use by another convscope server; stop that one"):
        second.open()
    elsewhere.open()
    first.close()
    second.close()
    again = RunStore(url)
    again.open()
    again.close()
    elsewhere.close()


def kept(store: RunStore) -> RunRecord:
    """A run that the store has been given."""
    record = RunRecord(uuid4().hex, "queued", request(request_id=uuid4().hex), 1.0)
    asyncio.run(store.insert(record, [LoggedEvent(record.id, 1, 1.0, Accepted("id"))]))
    return record


def restart(server: PostgresServer) -> None:
    server.stop()
    server.start()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done to a database between transactions."""
    monkeypatch.setattr(HeldSession, "idle_seconds", None)


@pytest.mark.usefixtures("patient")
def test_a_server_keeps_others_off_after_its_database_was_restarted(own_postgres: PostgresServer) -> None:
    url = own_postgres.fresh()
    first, second = RunStore(url), RunStore(url)
    first.open()
    restart(own_postgres)
    kept(first)
    with pytest.raises(StoreAwayError):
        asyncio.run(first.write(lambda connection: (restart(own_postgres), connection.execute(text("SELECT 1")))))
    kept(first)
    with pytest.raises(DatabaseLockedError, match="stop that one"):
        second.open()
    assert not first.taken.done()
    first.close()
    second.open()
    second.close()


@pytest.mark.usefixtures("patient")
def test_a_server_never_writes_again_once_another_has_its_database(
    own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = own_postgres.fresh()
    first, second = RunStore(url), RunStore(url)
    first.open()
    restart(own_postgres)
    second.open()
    for _ in range(3):
        with pytest.raises(StoreAwayError):
            kept(first)
    theirs = kept(second)
    second.close()
    with pytest.raises(StoreAwayError):
        kept(first)
    error = first.taken.exception(timeout=0)
    assert isinstance(error, DatabaseLockedError)
    assert "another convscope server took postgresql" in str(error)
    assert caplog.messages.count(str(error)) == 1
    records, _ = asyncio.run(first.page(RunFilter(), page_size=9, page_token=""))
    assert [record.id for record in records] == [theirs.id]
    first.close()


@in_loop
async def test_a_server_that_writes_nothing_takes_its_database_again_too(
    own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(HeldSession, "idle_seconds", 0.02)
    url = own_postgres.fresh()
    first, second = RunStore(url), RunStore(url)
    first.open()
    await asyncio.to_thread(restart, own_postgres)
    await eventually(lambda: "a new one holds it again" in caplog.text)
    with pytest.raises(DatabaseLockedError):
        second.open()
    first.close()


@pytest.mark.usefixtures("patient")
def test_a_session_that_the_network_lost_does_not_keep_its_own_server_off(own_postgres: PostgresServer) -> None:
    url = own_postgres.fresh()
    store, other = RunStore(url), RunStore(url)
    store.open()
    session = store._session
    assert isinstance(session, HeldSession)
    lost, session._connection = session._connection, None  # PostgreSQL still believes in it
    kept(store)
    assert lost is not None
    with pytest.raises(OperationalError):
        lost.execute(text("SELECT 1"))
    with pytest.raises(DatabaseLockedError):
        other.open()
    store.close()


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    store = RunStore("postgresql://ada:secret@127.0.0.1:1/convscope")
    with pytest.raises(StoreUnreachableError, match=r"ada:.*@127\.0\.0\.1:1/convscope: .*refused") as refusal:
        store.open()
    assert "secret" not in str(refusal.value)
    store.close()
