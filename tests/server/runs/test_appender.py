from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from sqlalchemy.exc import OperationalError

from convscope_server.images.content import ContentStore
from convscope_server.runs.appender import Appender
from convscope_server.runs.events import (
    Accepted,
    Event,
    Failed,
    Note,
    Preview,
    Progress,
    Queued,
    Report,
    Result,
    Succeeded,
)
from convscope_server.runs.log import RunLog
from convscope_server.runs.run import LoggedEvent, RunRecord
from convscope_server.runs.skips import Skips
from convscope_server.runs.store import RunStore
from support.aio import eventually, in_loop
from support.fake_engine import artifact
from support.run_house import request

DONE = Succeeded(Report())
RUN = "a" * 32


class Moody(RunStore):
    """A store that fails as often as it is told."""

    failures = 0

    async def append(self, run: str, entries: Sequence[LoggedEvent], *, device_seconds: float = 0.0) -> bool:
        if self.failures > 0:
            self.failures -= 1
            raise OperationalError("INSERT", {}, Exception("disk full"))
        return await super().append(run, entries, device_seconds=device_seconds)


@asynccontextmanager
async def appending(ends: list[str]) -> AsyncIterator[tuple[Appender, Moody, RunLog]]:
    store, log = Moody("sqlite://"), RunLog(RUN)
    store.open()
    first = [LoggedEvent(RUN, 1, 0.0, Accepted("x")), LoggedEvent(RUN, 2, 0.0, Queued(0))]
    await store.insert(RunRecord(RUN, "queued", request(request_id="x"), 0.0, last_sequence=2), first)
    log.publish(first)
    content = ContentStore(f"memory://{uuid4().hex}", max_bytes=2000)
    appender = Appender(log, store, content, inline_bytes=100, on_failing=lambda: None, on_end=lambda: ends.append(RUN))
    try:
        yield appender, store, log
    finally:
        await appender.close(patience=5)
        store.close()


async def stored(store: RunStore) -> list[Event]:
    return [e.event for e in await store.events(RUN, after=2, through=9999, skips=Skips(), limit=9999)]


@in_loop
async def test_a_store_that_fails_is_tried_again_and_nothing_is_lost_or_doubled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends: list[str] = []
    async with appending(ends) as (appender, store, log):
        store.failures = 2
        for i in range(10):
            appender.put([Note(str(i))])
            await asyncio.sleep(0)
        appender.put([DONE])
        await log.until_end()
        assert await stored(store) == [*(Note(str(i)) for i in range(10)), DONE]
        assert ends == [RUN]
    assert caplog.text.count("cannot store its events") == 2


@in_loop
async def test_while_the_store_is_away_only_old_previews_and_progress_are_given_up() -> None:
    async with appending([]) as (appender, store, log):
        store.failures = 1
        appender.put([Note("first")])
        await asyncio.sleep(0.01)
        for step in range(2000):
            appender.put([Progress(step), Preview(artifact(step=step))])
            if step % 500 == 0:
                appender.put([Note(f"at {step}")])
        appender.put([DONE])
        await log.until_end()
        events = await stored(store)
        notes = [event.text for event in events if isinstance(event, Note)]
        assert notes == ["first", "at 0", "at 500", "at 1000", "at 1500"]
        assert events[-3:-1] == [Progress(1999), Preview(artifact(step=1999))]
        assert len(events) < 1100
        assert log.last == 2 + len(events)


@in_loop
async def test_a_result_that_cannot_be_kept_is_the_end_whatever_comes_meanwhile() -> None:
    ends: list[str] = []
    async with appending(ends) as (appender, store, log):
        appender.put([Note("before"), Result(artifact("huge", bytes(5000))), Note("behind")])
        await asyncio.sleep(0)
        appender.put([Note("meanwhile"), DONE])
        await log.until_end()
        await asyncio.sleep(0.01)
        before, end = await stored(store)
        assert before == Note("before")
        assert isinstance(end, Failed)
        assert end.error.reason == "CONTENT_TOO_LARGE"
        assert ends == [RUN]


@in_loop
async def test_a_run_that_is_gone_from_the_store_sends_its_watchers_away() -> None:
    ends: list[str] = []
    async with appending(ends) as (appender, store, log):
        await store.append(RUN, [LoggedEvent(RUN, 3, 0.0, DONE)])
        await store.delete(RUN)
        appender.put([Note("to nobody")])
        await eventually(lambda: log.closed)
        assert ends == [RUN]
        appender.put([Note("still to nobody")])
        assert appender.ending


@in_loop
async def test_closing_gives_up_what_cannot_be_stored_in_time() -> None:
    ends: list[str] = []
    async with appending(ends) as (appender, store, log):
        store.failures = 10**9
        appender.put([DONE])
        await asyncio.sleep(0)
        await appender.close(patience=0.05)
        assert not log.ended
        assert ends == []
