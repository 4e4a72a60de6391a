"""Checks of a seed: the same pixels again, alone and beside another run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from convscope_sdk.conformance.check import NonConformity
from convscope_sdk.conformance.recording import same
from convscope_sdk.events import Event

if TYPE_CHECKING:
    from convscope_sdk.conformance.subject import Subject

__all__ = ["check_interleaved_runs_do_not_disturb_each_other", "check_same_seed_same_pixels"]

_OTHER_SEED = 8


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


def _compare(first: Sequence[Event], second: Sequence[Event], whose: str) -> None:
    advice = "draw from run.rng or the global generators, which are seeded, and keep nothing between runs"
    if len(first) != len(second):
        raise NonConformity(f"{whose} yields {len(second)} events instead of {len(first)}; {advice}")
    for number, (one, other) in enumerate(zip(first, second, strict=True), start=1):
        if not same(one, other):
            name = getattr(one, "name", "")
            raise NonConformity(f"{whose} differs in event {number}, {type(one).__name__} {name}; {advice}")
