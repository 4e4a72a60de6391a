"""Whose run starts next."""

from __future__ import annotations

from typing import Any

from convscope_server.runs.ledger import Ledger
from convscope_server.runs.limits import PrincipalLimits
from convscope_server.runs.live import LiveRun
from convscope_server.runs.positions import Pace, Positions
from convscope_server.runs.queue import RunQueue
from support.run_house import request


class House:
    """A queue with a clock that stands still unless moved."""

    def __init__(self, **options: Any) -> None:
        self.now = 1000.0
        self.ledger = Ledger(lambda: self.now)
        self.queue = RunQueue(self.ledger, now=lambda: self.now, **options)
        self.appended: list[tuple[str, object]] = []

    def push(self, name: str, owner: str = "ada", priority: str = "normal", *, front: bool = False) -> LiveRun:
        live = LiveRun(
            name,
            request(owner=owner, priority=priority),
            self.now,
            None,  # type: ignore[arg-type]  # no log is read here
            _Appender(name, self.appended),  # type: ignore[arg-type]  # nothing is stored here
            self.ledger[owner],
        )
        (self.queue.push_front if front else self.queue.push)(live)
        return live

    @property
    def head(self) -> LiveRun | None:
        return self.queue.first(lambda _: True)

    def start(self) -> str:
        """Start the head; gives its name."""
        live = self.head
        assert live is not None
        self.queue.remove(live)
        live.on_engine = True
        return live.id

    def order(self) -> str:
        """All that wait, in the order in which they start, nobody's run ending meanwhile."""
        return "".join(self.start() for _ in range(len(self.queue)))


class _Appender:
    ending = False

    def __init__(self, name: str, appended: list[tuple[str, object]]) -> None:
        self._name, self._appended = name, appended

    def put(self, events: list[object]) -> None:
        self._appended += [(self._name, event) for event in events]


def test_one_principals_runs_start_in_their_order() -> None:
    house = House()
    for name in "abc":
        house.push(name)
    house.push("z", front=True)
    assert house.order() == "zabc"
    assert house.head is None


def test_principals_take_turns_however_many_runs_each_has() -> None:
    house = House()
    for name in "abcd":
        house.push(name, "heavy")
    house.push("x", "light")
    assert house.order() == "axbcd"


def test_the_principal_who_has_had_least_of_the_devices_is_next() -> None:
    house = House()
    running = [house.push(name, owner) for name, owner in (("1", "ada"), ("2", "bob"))]
    house.order()
    house.ledger.took("ada", 10.0, 1.0)
    house.ledger.took("bob", 5.0, 1.0)
    house.push("a", "ada")
    house.push("b", "bob")
    assert house.order() == "ba"
    assert all(live.on_engine for live in running)


def test_who_was_away_has_no_credit_for_it() -> None:
    house = House()
    house.push("1", "busy")
    house.order()
    house.ledger.took("busy", 100.0, 1.0)
    house.push("a", "busy")
    house.push("x", "new")
    house.push("y", "new")
    assert house.ledger["new"].clock == house.ledger["busy"].clock == 100.0
    assert house.order() == "xay"


def test_urgent_runs_go_first_within_a_line_and_batch_behind_everybodys() -> None:
    house = House()
    house.push("n", "ada")
    house.push("i", "ada", "interactive")
    house.push("b", "bob", "batch")
    house.push("m", "cyd")
    assert house.order() == "imnb"


def test_waiting_makes_a_run_as_urgent_as_the_next_priority() -> None:
    house = House(ageing=60.0)
    house.push("b", "bob", "batch")
    house.now += 59
    house.push("n", "ada")
    assert house.head is not None
    assert house.head.id == "n"
    house.now += 1
    house.push("o", "bob")
    house.push("p", "bob", "interactive")
    assert house.order() == "pnbo"


def test_a_run_that_waits_long_enough_goes_before_newer_urgent_ones_of_its_line() -> None:
    house = House(ageing=10.0)
    house.push("b", priority="batch")
    house.now += 20
    house.push("i", priority="interactive")
    assert house.order() == "bi"


def test_no_principal_starts_more_than_may_run() -> None:
    house = House(limits=PrincipalLimits(running=2))
    live = [house.push(name) for name in "abc"]
    house.push("x", "bob")
    assert house.start() + house.start() + house.start() == "axb"
    assert house.head is None
    assert len(house.queue) == 1
    live[0].on_engine = False
    assert house.start() == "c"


def test_who_has_used_up_the_hour_waits_until_it_is_over() -> None:
    house = House(limits=PrincipalLimits(device_seconds=10))
    house.push("a")
    house.push("x", "bob")
    house.ledger.took("ada", 10.0, 1.0)
    assert house.start() == "x"
    assert house.head is None
    house.now += 3601
    assert house.start() == "a"


def test_a_run_that_could_not_start_is_as_urgent_as_before() -> None:
    house = House()
    house.push("n")
    house.push("f", front=True)
    house.push("i", priority="interactive")
    head = house.head
    assert head is not None
    house.queue.remove(head)
    house.queue.put_back(head)
    assert house.ledger["ada"].waiting == 3
    assert house.order() == "fin"


def test_who_puts_a_run_back_keeps_the_credit_of_having_waited() -> None:
    house = House()
    house.push("1", "busy")
    house.push("x", "patient")
    house.start()
    house.ledger.took("busy", 100.0, 1.0)
    live = house.head
    assert live is not None
    house.queue.remove(live)
    house.queue.put_back(live)
    assert house.ledger["patient"].clock == 0.0


def test_of_those_that_may_start_the_first_is_given() -> None:
    house = House()
    for name in "abc":
        house.push(name)
    found = house.queue.first(lambda live: live.id != "a")
    assert found is not None
    assert found.id == "b"
    assert house.queue.first(lambda _: False) is None


def test_taking_a_run_out_twice_counts_once() -> None:
    house = House()
    live = house.push("a")
    assert house.queue.remove(live)
    assert not house.queue.remove(live)
    assert house.ledger["ada"].waiting == 0
    assert live not in house.queue


def test_runs_are_told_their_place_as_it_gets_better() -> None:
    house, pace = House(), Pace()
    positions = Positions(house.queue, pace)
    for name in "abc":
        house.push(name)
    positions.tell()
    assert house.appended == []
    house.start()
    positions.tell()
    assert [(name, event.position) for name, event in house.appended] == [("b", 0), ("c", 1)]  # type: ignore[attr-defined]
    house.push("x", "bob")  # overtakes c: a place that got worse is not told
    positions.tell()
    assert len(house.appended) == 2


def test_far_back_only_each_twentieth_of_the_way_is_told() -> None:
    house, pace = House(), Pace()
    positions = Positions(house.queue, pace)
    for number in range(201):
        house.push(f"{number:03}")
    positions.tell()
    for _ in range(40):
        house.start()
        positions.tell()
    told = [event.position for name, event in house.appended if name == "200"]  # type: ignore[attr-defined]
    assert told == [190, 180, 171, 162]


def test_the_time_to_the_start_follows_the_pace() -> None:
    pace = Pace()
    positions = Positions(House().queue, pace)
    assert positions.eta(3) is None
    pace.started()
    assert positions.eta(3) is None
    pace.started()
    first, fifth = positions.eta(0), positions.eta(4)
    assert first is not None
    assert fifth is not None
    assert 0 <= first <= fifth


def test_an_old_run_that_gave_way_waits_behind_whom_it_gave_way_to() -> None:
    house = House(ageing=60.0)
    house.push("l", front=True)
    house.start()
    house.now += 3600
    urgent = house.push("u", priority="interactive")
    old = LiveRun("l", request(owner="ada", priority="batch"), 1000.0, None, _Appender("l", []))  # type: ignore[arg-type]  # a fake
    old.in_front = True
    house.queue.push(old)
    assert house.head is urgent
    assert not old.in_front
