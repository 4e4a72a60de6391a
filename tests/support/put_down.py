"""Runs that are put down at one of their states."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from convscope_sdk.conformance.recording import same
from convscope_sdk.events import Event
from convscope_sdk.inprocess import start
from convscope_sdk.network import Network
from convscope_sdk.state import Memory, Saved
from convscope_sdk.technique import Technique
from support.collected import Collected

__all__ = ["goes_on", "put_down"]


def put_down(
    technique: Technique[Any], network: Network, image: Any = None, *, state: int, **options: Any
) -> tuple[Collected, Saved]:
    """What a run yields up to its state of that number, from 1, and what is kept of it there, as a file would have it.

    Args:
        technique: Of the run.
        network: What it looks into.
        image: Its picture.
        state: The number.
        **options: Of `start`.
    """
    kept: list[Saved] = []

    def keep(memory: Memory) -> None:
        kept.append(memory.save().by_way_of_json())

    events: list[Event] = []
    stream = start(technique, network, image, keep=keep, **options)
    for event in stream:
        if len(kept) >= state:
            break
        events.append(event)
    stream.close()
    return Collected(events), kept[state - 1]


def goes_on(technique: Technique[Any], network: Network, image: Any = None, *, every: int = 1, **options: Any) -> int:
    """Asserts that a run taken up at each of its states, or every so many, ends as one that was not; how many it has.

    Args:
        technique: Of the run.
        network: What it looks into.
        image: Its picture.
        every: The first state, and every so many behind it.
        **options: Of `start`.
    """
    events: list[Event] = []
    places: list[tuple[int, Saved]] = []

    def keep(memory: Memory) -> None:
        places.append((len(events), memory.save().by_way_of_json()))

    for event in start(technique, network, image, keep=keep, **options):
        events.append(event)  # noqa: PERF402 - `keep` counts them
    for at, saved in places[::every]:
        rest = start(technique, network, image, saved=saved, **options)
        for number, (one, other) in enumerate(zip_longest(events[at:], rest)):
            assert same(one, other), f"taken up behind event {at}, it differs in event {number} behind that: {one}"
    return len(places)
