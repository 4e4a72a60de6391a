from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_server.errors import RequestError
from convscope_server.runs.events import (
    Event,
    Note,
    Preview,
    Progress,
    Report,
    Result,
    Succeeded,
    is_skippable,
)
from convscope_server.runs.log import RunLog
from convscope_server.runs.run import Gap, LoggedEvent
from convscope_server.runs.skips import Skips
from convscope_server.runs.watch import Watcher
from support.aio import in_loop
from support.fake_engine import artifact
from support.run_house import assert_whole_log, kinds

RUN = "r" * 32
SLOW = 1.0


class Written:
    """A log with its store behind it, and a clock that only the test moves."""

    def __init__(self, *, tail: int | None = None) -> None:
        self.entries: list[LoggedEvent] = []
        self.log = RunLog(RUN)
        self.now = 0.0
        self.reads = 0
        self._tail = tail

    def write(self, *events: Event) -> None:
        first = self.log.last + 1
        entries = [LoggedEvent(RUN, first + i, self.now, event) for i, event in enumerate(events)]
        self.entries += entries
        self.log.publish(entries)
        if self._tail is not None:
            self.forget_all_but(self._tail)

    def forget_all_but(self, newest: int) -> None:
        while len(self.log._tail) > newest:
            self.log._tail.popleft()

    def clock(self) -> float:
        return self.now

    async def events(self, run: str, *, after: int, through: int, skips: Skips, limit: int) -> list[LoggedEvent]:
        assert run == RUN
        self.reads += 1
        await asyncio.sleep(0)
        found = [e for e in self.entries if after < e.sequence <= through and not skips.leave_out(e)]
        return found[:limit]

    def watcher(self, *, after: int = 0, skip_previews: bool = False, every_preview: bool = False) -> Watcher:
        return Watcher(
            self.log,
            self,
            after=after,
            skip_previews=skip_previews,
            every_preview=every_preview,
            slow=SLOW,
            clock=self.clock,
        )


def event_of(kind: str, step: int) -> Event:
    events: dict[str, Event] = {
        "progress": Progress(step),
        "preview": Preview(artifact(step=step)),
        "result": Result(artifact(f"r{step}")),
        "note": Note(f"n{step}"),
    }
    return events[kind]


END = Succeeded(Report())


async def _all(items: AsyncIterator[LoggedEvent | Gap]) -> list[LoggedEvent | Gap]:
    return [item async for item in items]


batches = st.lists(st.lists(st.sampled_from(["progress", "preview", "result", "note"]), max_size=5), max_size=12)


@dataclass(frozen=True)
class Case:
    """What is written, in which portions, and how the watcher behaves."""

    batches: list[list[str]]
    after: int
    tail: int | None
    slowness: int  # of ten hand-overs
    skip_previews: bool
    every_preview: bool
    seed: int


cases = st.builds(
    Case,
    batches=batches,
    after=st.integers(0, 8),
    tail=st.sampled_from([0, 1, 3, None]),
    slowness=st.integers(0, 10),
    skip_previews=st.booleans(),
    every_preview=st.booleans(),
    seed=st.integers(0, 2**32),
)


async def interleaved(case: Case, written: Written) -> list[LoggedEvent | Gap]:
    """What the watcher gets while a writer, and its own consumer, take turns by the dice."""
    dice = random.Random(case.seed)
    pending = [[event_of(kind, i) for kind in batch] for i, batch in enumerate(case.batches, start=1)]
    pending.append([END])

    def write_some() -> None:
        for _ in range(min(dice.randint(0, 3), len(pending))):
            written.write(*pending.pop(0))

    async def write_the_rest() -> None:
        while pending:
            await asyncio.sleep(0)
            write_some()

    write_some()
    writer = asyncio.create_task(write_the_rest())
    watcher = written.watcher(after=case.after, skip_previews=case.skip_previews, every_preview=case.every_preview)
    items: list[LoggedEvent | Gap] = []
    async for item in watcher.items():
        items.append(item)
        if dice.randrange(10) < case.slowness:
            written.now += SLOW
            write_some()
        for _ in range(dice.randint(0, 2)):
            await asyncio.sleep(0)
    await writer
    return items


@settings(max_examples=300, deadline=None)
@given(case=cases)
def test_sequences_and_gaps_cover_the_log_once_in_order_with_all_that_matters(case: Case) -> None:
    written = Written(tail=case.tail)
    items = asyncio.run(asyncio.wait_for(interleaved(case, written), 20))
    if case.after >= written.log.last:
        assert items == []
        return
    assert_whole_log(items, after=case.after)
    assert not any(isinstance(a, Gap) and isinstance(b, Gap) for a, b in pairwise(items)), "gaps are merged"
    sent = {item.sequence for item in items if isinstance(item, LoggedEvent)}
    never_behind = case.every_preview or case.slowness == 0
    for entry in written.entries[case.after :]:
        if case.skip_previews and isinstance(entry.event, Preview):
            assert entry.sequence not in sent
        elif never_behind or not is_skippable(entry.event):
            assert entry.sequence in sent


@in_loop
async def test_a_watcher_that_was_away_gets_the_newest_of_each_kind_and_one_gap_for_the_rest() -> None:
    written = Written()
    written.write(Progress(1))
    items = written.watcher().items()
    assert kinds([await anext(items)]) == ["Progress"]
    for step in range(2, 6):
        written.write(Progress(step), Preview(artifact(step=step)))
    written.write(Note("said"), END)
    written.now += SLOW
    rest = [item async for item in items]
    assert kinds(rest) == ["Gap", "Progress", "Preview", "Note", "Succeeded"]
    assert rest[0] == Gap(RUN, 2, 7)
    assert isinstance(rest[1], LoggedEvent)
    assert rest[1].event == Progress(5)


@pytest.mark.parametrize(
    ("seconds", "piled_up"), [(SLOW, 1), (SLOW - 0.01, 9)], ids=["one event only", "a quick hand-over"]
)
@in_loop
async def test_a_watcher_is_not_behind_after(seconds: float, piled_up: int) -> None:
    written = Written()
    written.write(Progress(1))
    items = written.watcher().items()
    await anext(items)
    written.write(*(Progress(2 + i) for i in range(piled_up)), END)
    written.now += seconds
    assert kinds([item async for item in items]) == ["Progress"] * piled_up + ["Succeeded"]


@in_loop
async def test_a_slow_replay_is_not_cut_short_by_a_single_new_event() -> None:
    written = Written()
    written.write(*(Progress(step) for step in range(1, 6)))
    items = written.watcher().items()
    await anext(items)
    written.write(Progress(6))
    written.now += SLOW
    written.write(END)
    assert kinds([item async for item in items]) == ["Progress"] * 5 + ["Succeeded"]


@in_loop
async def test_a_replay_of_an_old_log_sends_everything_however_slow_the_watcher_is() -> None:
    written = Written(tail=0)
    written.write(*(Preview(artifact(step=i)) for i in range(100)), END)
    items = []
    async for item in written.watcher().items():
        items.append(item)
        written.now += SLOW
    assert len(items) == 101


@in_loop
async def test_a_backlog_in_the_store_is_not_read_to_be_thrown_away() -> None:
    written = Written(tail=1)
    written.write(Progress(1))
    items = written.watcher().items()
    await anext(items)
    written.write(*(Preview(artifact(step=i)) for i in range(1000)), END)
    written.now += SLOW
    assert kinds([item async for item in items]) == ["Gap", "Preview", "Succeeded"]
    assert written.reads == 1


@in_loop
async def test_previews_that_are_not_wanted_become_gaps_merged() -> None:
    written = Written()
    written.write(Preview(artifact()), Preview(artifact()), Progress(1), Preview(artifact()), END)
    items = [item async for item in written.watcher(skip_previews=True).items()]
    assert [items[0], items[2]] == [Gap(RUN, 1, 2), Gap(RUN, 4, 4)]
    assert kinds(items) == ["Gap", "Progress", "Gap", "Succeeded"]


@in_loop
async def test_a_watcher_waits_for_what_is_not_there_yet() -> None:
    written = Written()
    items = written.watcher().items()
    first = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0.01)
    assert not first.done()
    written.write(Note("now"), END)
    assert kinds([await first]) == ["Note"]
    await items.aclose()


@in_loop
async def test_a_closed_log_sends_its_watchers_away_with_what_to_do() -> None:
    written = Written()
    written.write(Note("one"))
    items = written.watcher().items()
    await anext(items)
    waiting = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    written.log.close()
    with pytest.raises(RequestError) as refusal:
        await waiting
    assert refusal.value.error.reason == "SERVER_CLOSED"


@in_loop
async def test_a_log_deleted_under_a_watcher_ends_in_an_error_not_in_silence() -> None:
    written = Written(tail=0)
    written.write(*(Note("long ago") for _ in range(40)), END)
    items = written.watcher().items()
    await anext(items)
    written.entries.clear()
    with pytest.raises(RequestError) as refusal:
        await _all(items)
    assert refusal.value.error.code == "NOT_FOUND"


def test_the_tail_of_a_log_is_bounded_in_bytes_and_keeps_the_newest() -> None:
    log = RunLog(RUN)
    big = bytes(1024 * 1024)
    log.publish([LoggedEvent(RUN, i, 0.0, Preview(artifact(content=big))) for i in range(1, 31)])
    assert len(log._tail) == 8
    assert [entry.sequence for entry in log.after(28, 10) or []] == [29, 30]
    assert log.after(21, 10) is None
