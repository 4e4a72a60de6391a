"""Checks of a technique's states: put down anywhere, and taken up, to the same bits."""

from __future__ import annotations

from collections.abc import Generator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from convscope_sdk.conformance.check import NonConformity, NotConcerned
from convscope_sdk.conformance.recording import same
from convscope_sdk.errors import TechniqueError
from convscope_sdk.events import Event, Progress
from convscope_sdk.state import Memory, Saved

if TYPE_CHECKING:
    from convscope_sdk.conformance.subject import Subject

__all__ = ["check_goes_on_where_it_was_put_down"]

_MOST = 5
_ADVICE = (
    "keep in an open state everything that changes while it runs and counts later, and let what comes before it depend "
    "on the run alone"
)


def check_goes_on_where_it_was_put_down(subject: Subject) -> None:
    """A worker may die, or be wanted for something urgent, at any step: from a checkpoint the run goes on elsewhere to the same bits."""  # noqa: E501 - the reason is one paragraph
    for recording in subject.finished:
        events, places = _with_places(subject, recording.network)
        if not subject.technique.resumable:
            if places:
                raise NonConformity("it yields states and does not say so: declare it resumable=True")
            raise NotConcerned("it is not resumable")
        if not places:
            raise NonConformity(
                f"on {recording.network}, it is resumable and never yields a state, so nobody can put it down; "
                f"`yield state` in each step of its loop"
            )
        _check_steps(recording.network, events, places)
        for at, saved in _some(places):
            _check_goes_on(subject, recording.network, events[at:], saved)


def _with_places(subject: Subject, network: str) -> tuple[list[Event], list[tuple[int, Saved]]]:
    """A run's events, and what was saved behind the first so many of them."""
    events: list[Event] = []
    places: list[tuple[int, Saved]] = []

    def keep(memory: Memory) -> None:
        try:
            places.append((len(events), memory.save().by_way_of_json()))
        except TypeError as error:
            raise NonConformity(f"on {network}, its state cannot be kept: {error}") from error

    for event in subject.stream(subject.networks[network](), keep=keep):
        events.append(event)  # noqa: PERF402 - `keep` counts them
    return events, places


def _check_steps(network: str, events: list[Event], places: list[tuple[int, Saved]]) -> None:
    last = 0
    for at, _ in places:
        step = max((event.step for event in events[:at] if isinstance(event, Progress)), default=0)
        if step <= last:
            raise NonConformity(
                f"on {network}, it yields a state twice at step {step}: yield Progress before each, with a higher step"
            )
        last = step


def _some(places: list[tuple[int, Saved]]) -> list[tuple[int, Saved]]:
    """The first, the last, and some in between."""
    if len(places) <= _MOST:
        return places
    return [places[number * (len(places) - 1) // (_MOST - 1)] for number in range(_MOST)]


def _check_goes_on(subject: Subject, network: str, expected: list[Event], saved: Saved) -> None:
    stream = subject.stream(subject.networks[network](), saved=saved)
    step = next((event.step for event in expected if isinstance(event, Progress)), None)
    where = f"on {network}, a run taken up " + ("at its last state" if step is None else f"before step {step}")
    for number, (one, other) in enumerate(zip_longest(expected, _told(stream, where)), start=1):
        if one is None or other is None:
            more = "fewer" if other is None else "more"
            raise NonConformity(f"{where} yields {more} events than one that was not put down; {_ADVICE}")
        if not same(one, other):
            name = getattr(one, "name", "")
            raise NonConformity(f"{where} differs in its event {number}, {type(one).__name__} {name}; {_ADVICE}")


def _told(stream: Generator[Event, Any, None], where: str) -> Generator[Event, None, None]:
    try:
        yield from stream
    except TechniqueError as error:
        raise NonConformity(f"{where} is refused: {error}; {_ADVICE}") from error
