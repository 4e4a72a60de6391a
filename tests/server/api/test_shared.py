from __future__ import annotations

from convscope_server.api.shared import Shared


def test_a_thing_is_made_once_for_all_who_ask_and_one_that_equals_it_is_another() -> None:
    calls: list[list[int]] = []

    def make(thing: list[int]) -> bytes:
        calls.append(thing)
        return bytes(thing)

    shared = Shared(make, size=len)
    first, second = [1], [1]
    made = [shared(thing) for thing in (first, second, first, second)]
    assert made == [b"\1"] * 4
    assert len(calls) == 2


def test_an_id_that_was_used_before_gives_nothing_of_before() -> None:
    shared = Shared(bytes, size=len, most=20_000)
    assert [shared([number % 256]) for number in range(2000)] == [bytes([number % 256]) for number in range(2000)]


def test_the_oldest_go_beyond_the_bytes_and_the_newest_stays_whatever_its_size() -> None:
    calls: list[int] = []

    def make(length: list[int]) -> bytes:
        calls.extend(length)
        return bytes(*length)

    shared = Shared(make, size=len, most=11_000)
    small, other, large = [4000], [4001], [50_000]
    for thing in (small, other, small, large, large, small, small):
        shared(thing)
    assert calls == [4000, 4001, 50_000, 4000]


def test_many_small_ones_are_bounded_too() -> None:
    calls: list[int] = []

    def make(thing: list[int]) -> bytes:
        calls.extend(thing)
        return b""

    shared = Shared(make, size=len, most=2**20)
    things = [[number] for number in range(2000)]
    for thing in (*things, things[-1], things[0]):
        shared(thing)
    assert calls[2000:] == [0]
