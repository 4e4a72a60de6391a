from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope._reconnect import UNREACHABLE, Backoff, Cursor, is_broken_connection
from convscope.errors import ConnectionLost, ConvscopeError, Internal, NotFound, Unavailable
from convscope.events import EventKind, RunEvent


def event(
    sequence: int, kind: EventKind = "progress", *, run: str = "r", gap: tuple[int, int] | None = None
) -> RunEvent:
    return RunEvent(run, sequence, kind, datetime.now(UTC), gap=gap)


@given(st.lists(st.integers(1, 12), max_size=12), st.integers(1, 12))
def test_any_sequence_of_replays_is_read_once_and_in_order(starts: list[int], length: int) -> None:
    cursor, seen = Cursor(), []
    for start in [*starts, 1]:
        # A stream that begins anywhere at or before the next place, as a careless server's may.
        first = min(start, cursor.sequence + 1)
        stream = [event(n, "succeeded" if n == length else "progress") for n in range(first, length + 1)]
        seen += [each.sequence for each in stream if cursor.take(each)]
    assert seen == list(range(1, length + 1))
    assert cursor.finished


def test_a_gap_stands_for_the_events_that_it_names() -> None:
    cursor = Cursor()
    assert cursor.take(event(1))
    assert cursor.take(event(9, "gap", gap=(2, 9)))
    assert cursor.take(event(10))


def test_a_gap_that_was_seen_event_by_event_is_a_duplicate() -> None:
    cursor = Cursor("r", 9)
    assert not cursor.take(event(9, "gap", gap=(2, 9)))


def test_a_hole_is_read_again_once_and_then_reported() -> None:
    cursor = Cursor("r", 3)
    with pytest.raises(Internal) as first:
        cursor.take(event(6))
    assert is_broken_connection(first.value)
    with pytest.raises(Internal, match="events 4 to 5 of run r did not come") as second:
        cursor.take(event(6))
    assert second.value.reason == "EVENTS_MISSING"
    with pytest.raises(Internal):
        cursor.lost(second.value, 0.0)


def test_an_event_of_another_run_is_refused() -> None:
    with pytest.raises(Internal, match="run other came while watching r"):
        Cursor("r", 1).take(event(2, run="other"))


def test_waits_grow_to_a_cap_with_jitter_and_end() -> None:
    backoff = Backoff(give_up_after=100.0, rng=random.Random(1))
    waits = [backoff.wait(0.0) for _ in range(40)]
    assert all(wait is not None and 0.05 <= wait <= 5.0 for wait in waits)
    assert max(wait or 0 for wait in waits) > 2.5
    assert backoff.wait(99.9) is not None
    assert backoff.wait(100.0) is None


def test_a_sign_of_life_starts_the_patience_anew() -> None:
    backoff = Backoff(give_up_after=10.0)
    assert backoff.wait(0.0) is not None
    backoff.alive()
    assert backoff.wait(500.0) is not None


def test_giving_up_says_how_to_attach() -> None:
    cursor = Cursor("abc", 7, backoff=Backoff(give_up_after=5.0))
    cursor.lost(Unavailable("broke"), 0.0)
    with pytest.raises(ConnectionLost, match=r"client\.attach\('abc', after_sequence=7\)") as lost:
        cursor.lost(Unavailable("broke"), 5.0)
    assert lost.value.run_id == "abc"
    assert isinstance(lost.value, Unavailable)


def test_a_server_that_was_never_there_is_reported_at_once() -> None:
    with pytest.raises(Unavailable):
        Cursor().lost(Unavailable("nobody", reason=UNREACHABLE), 0.0)


def test_a_server_that_restarts_in_the_middle_is_waited_for() -> None:
    cursor = Cursor()
    cursor.take(event(1))
    assert cursor.lost(Unavailable("nobody", reason=UNREACHABLE), 0.0) > 0


@pytest.mark.parametrize("error", [NotFound("x", reason="RUN_NOT_FOUND"), Internal("x", reason="INTERNAL")])
def test_a_refusal_is_not_tried_again(error: ConvscopeError) -> None:
    with pytest.raises(type(error)):
        Cursor("r", 1).lost(error, 0.0)
