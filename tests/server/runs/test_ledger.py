"""Who has how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope_server.runs.ledger import Ledger


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_device_time_counts_for_an_hour() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    ledger.took("ada", 5.0, 1.0)
    clock.now = 1800
    ledger.took("ada", 7.0, 1.0)
    assert ledger.last_hour("ada") == 12.0
    assert ledger.last_hour("bob") == 0.0
    clock.now = 3601
    assert ledger.last_hour("ada") == 7.0


def test_it_is_known_when_there_will_be_less() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    for moment in (0, 1000, 2000):
        clock.now = moment
        ledger.took("ada", 10.0, 1.0)
    assert ledger.until_below("ada", 31.0) == 0.0
    assert ledger.until_below("ada", 30.0) == 1600.0
    assert ledger.until_below("ada", 5.0) == 3600.0


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 50)), min_size=1, max_size=40), st.integers(1, 100))
def test_after_that_time_it_is_below(takings: list[tuple[int, int]], bound: int) -> None:
    clock = Clock()
    ledger = Ledger(clock)
    for pause, seconds in takings:
        clock.now += pause
        ledger.took("ada", seconds, 1.0)
    wait = ledger.until_below("ada", bound)
    assert 0.0 <= wait <= 3600.0
    if wait:
        assert ledger.last_hour("ada") >= bound
    clock.now += wait + 1e-3
    assert ledger.last_hour("ada") < bound


def test_urgent_runs_wind_their_principals_clock_slower() -> None:
    ledger = Ledger()
    ledger.took("ada", 8.0, 4.0)
    ledger.took("bob", 8.0, 0.25)
    assert (ledger["ada"].clock, ledger["bob"].clock) == (2.0, 32.0)
    assert ledger.last_hour("ada") == pytest.approx(8.0)


def test_a_further_run_comes_behind_ones_own_and_one_of_each_others() -> None:
    ledger = Ledger()
    for owner, waiting in {"heavy": 100, "light": 1, "bob": 2}.items():
        for _ in range(waiting):
            ledger.came(owner)
    assert ledger.waiting == 103
    assert ledger.in_front("new") == 3
    assert ledger.in_front("light") == 1 + 2 + 2
    assert ledger.in_front("heavy") == 100 + 1 + 2
    ledger["new"].coming += 1
    assert (ledger.waiting, ledger.in_front("new")) == (104, 1 + 2 + 1 + 2)
