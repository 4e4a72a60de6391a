"""Checks of a seed: the same pixels again, alone and beside another run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from convscope_sdk.conformance.check import NonConformity, NotConcerned
from convscope_sdk.conformance.pictures import photograph
from convscope_sdk.conformance.recording import alike, same
from convscope_sdk.events import Event
from convscope_sdk.together import side_by_side

if TYPE_CHECKING:
    from convscope_sdk.conformance.subject import Subject

__all__ = [
    "check_batched_runs_equal_single_ones",
    "check_interleaved_runs_do_not_disturb_each_other",
    "check_same_seed_same_pixels",
]

_OTHER_SEED = 8
_RUNS = 3
_SEEDS = "draw from run.rng or the global generators, which are seeded, and keep nothing between runs"
_ROWS = "what `together` calls computes each row from the same row of its input alone, and draws no random numbers"


def check_same_seed_same_pixels(subject: Subject) -> None:
    """A result that nobody can repeat proves nothing: the same seed gives the same pixels, also in the second run."""
    for recording in subject.finished:
        network = subject.networks[recording.network]()
        again = list(subject.stream(network))
        _compare(recording.events, again, f"on {recording.network}, a second run with the same seed")
        once_more = list(subject.stream(network))
        _compare(again, once_more, f"on {recording.network}, a second run on one network")


def check_interleaved_runs_do_not_disturb_each_other(subject: Subject) -> None:
    """Runs of one worker share the network and take turns step by step: what another run does between two steps must not show."""  # noqa: E501 - the reason is one paragraph
    (recording, *_) = subject.finished
    network = subject.networks[recording.network]()
    mine, other = subject.stream(network), subject.stream(network, seed=_OTHER_SEED)
    events = []
    for event, _ in zip_longest(mine, other):
        if event is not None:
            events.append(event)
    _compare(recording.events, events, f"on {recording.network}, a run beside another")


def check_batched_runs_equal_single_ones(subject: Subject) -> None:
    """Who shared a pass through the network must not show: a run that was batched with others gives what it gives alone, but for rounding."""  # noqa: E501 - the reason is one paragraph
    if not subject.technique.batchable:
        raise NotConcerned("it is not batchable")
    for recording in subject.finished:
        network = subject.networks[recording.network]()
        looks = "image" in subject.technique.needs
        given = [(photograph().rotate(90 * run) if looks else None, run) for run in range(_RUNS)]
        alone = [list(subject.stream(network, picture, seed=seed)) for picture, seed in given]
        streams = [subject.stream(network, picture, seed=seed, tells_wishes=True) for picture, seed in given]
        beside, largest = side_by_side(streams)
        if largest < _RUNS:
            raise NonConformity(
                f"on {recording.network}, {_RUNS} runs that differ in their pictures alone never shared a call; "
                f"look into the network by `yield from together(...)`, or leave batchable out"
            )
        for one, other in zip(alone, beside, strict=True):
            _compare(one, other, f"on {recording.network}, a run in a batch of {_RUNS}", alike, _ROWS)


def _compare(
    first: Sequence[Event],
    second: Sequence[Event],
    whose: str,
    agree: Callable[[object, object], bool] = same,
    advice: str = _SEEDS,
) -> None:
    if len(first) != len(second):
        raise NonConformity(f"{whose} yields {len(second)} events instead of {len(first)}; {advice}")
    for number, (one, other) in enumerate(zip(first, second, strict=True), start=1):
        if not agree(one, other):
            name = getattr(one, "name", "")
            raise NonConformity(f"{whose} differs in event {number}, {type(one).__name__} {name}; {advice}")
