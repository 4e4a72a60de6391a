"""What makes a technique of a function that finds a map: it adds what the report says about every map."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from torch import Tensor

from convscope_sdk.events import Event, Progress
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.state import Memory, State
from convscope_sdk.target import Target
from convscope_sdk.technique import Technique, technique
from convscope_techniques.attribution.batches import batch_size
from convscope_techniques.attribution.extent import extent
from convscope_techniques.attribution.ground_truth import MASK, ground_truth
from convscope_techniques.attribution.localisation import localisation
from convscope_techniques.attribution.params import ScoredParams
from convscope_techniques.attribution.scorecard import Scorecard

__all__ = ["Found", "Reporting", "attribution"]

P = TypeVar("P", bound=ScoredParams)


class Found(NamedTuple):
    """The map that an attribution found.

    Attributes:
        values: (H, W) in the picture's coordinates, high where the evidence is; before any cut for display.
        target: What it explains, resolved; None where it explains no score.
        batch: Pictures that went through the network at once, before any thrift; None where that is not asked.
    """

    values: Tensor
    target: Target | None
    batch: int | None = None

    @property
    def kept(self) -> tuple[Tensor, str | None, int | None]:
        """The same for a state."""
        return self.values, None if self.target is None else str(self.target), self.batch

    @classmethod
    def of(cls, kept: tuple[Tensor, str | None, int | None]) -> Self:
        """What was `kept`."""
        values, target, batch = kept
        return cls(values, None if target is None else Target.parse(target), batch)


Reporting = Generator[Event, Any, Found]
"""What an attribution's function gives: its events, and in the end the map."""


def attribution(
    identifier: str, *, needs: Collection[str], cites: str, batchable: bool = False
) -> Callable[[Callable[[Run[P]], Reporting]], Technique[P]]:
    """Makes a `Technique` of a generator function that yields its events and returns the map it `Found`.

    The report gets the map's extent, how it meets a `mask` if one is given, and with scores=full the scorecard. The
    technique is resumable: within its steps where it has a state of its own, after the map, and within the scorecard.
    """

    def decorate(function: Callable[[Run[P]], Reporting]) -> Technique[P]:
        @functools.wraps(function)
        def reported(run: Run[P]) -> Iterator[Event]:
            truth = ground_truth(run)
            batch = batch_size(run.network, run.image) if run.params.scores == "full" else None
            with run.state("attribution", found=None, steps=0, batch=batch) as state:
                scorecard = None if state.batch is None else Scorecard(run, run.inner_batch(state.batch))
                further = 0 if scorecard is None else scorecard.steps
                if state.found is None:
                    yield from _mapped(function(run), state, further)
                found = Found.of(state.found)
                yield extent(found.values)
                if truth is not None:
                    yield localisation(found.values, truth)
                if scorecard is not None:
                    remade = functools.partial(_remade, function, run, found)
                    for event in scorecard.events(found.values, found.target, remade):
                        yield _later(event, state.steps, further)

        return technique(identifier, needs=needs, cites=cites, extra_images=MASK, batchable=batchable, resumable=True)(
            reported
        )

    return decorate


def _mapped(events: Reporting, state: State, further: int) -> Generator[Event, Any, None]:
    """The events, with progress towards so many further steps; `state` gets how many steps they took, and the map."""
    answer = None
    while True:
        try:
            event = events.send(answer)
        except StopIteration as end:
            state.found = end.value.kept
            break
        if isinstance(event, Progress):
            state.steps = event.total
            event = replace(event, total=event.total + further)
        answer = yield event
    if not state.steps:  # one that does not speak of steps takes one
        state.steps = 1
        yield Progress(1, 1 + further)
        yield state


def _later(event: Event, done: int, further: int) -> Event:
    return replace(event, step=done + event.step, total=done + further) if isinstance(event, Progress) else event


def _remade(
    function: Callable[[Run[P]], Reporting], run: Run[P], found: Found, network: Network
) -> Generator[Event, None, Tensor]:
    """The map of the same target by another network, with the same random numbers and the same batch."""
    params, rng = run.params.for_comparison(found.target, found.batch), np.random.default_rng(run.seed)
    other = yield from function(replace(run, network=network, params=params, rng=rng, memory=Memory()))
    return other.values
