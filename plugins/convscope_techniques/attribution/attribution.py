"""What makes a technique of a function that finds a map: it adds what the report says about every map."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from convscope_sdk.events import Event, Progress
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.target import Target
from convscope_sdk.technique import Technique, technique
from convscope_techniques.attribution.extent import extent
from convscope_techniques.attribution.ground_truth import MASK, ground_truth
from convscope_techniques.attribution.localisation import localisation
from convscope_techniques.attribution.params import ScoredParams
from convscope_techniques.attribution.scorecard import scorecard, scorecard_steps

__all__ = ["Found", "Reporting", "attribution"]

P = TypeVar("P", bound=ScoredParams)


class Found(NamedTuple):
    """The map that an attribution found.

    Attributes:
        values: (H, W) in the picture's coordinates, high where the evidence is; before any cut for display.
        target: What it explains, resolved; None where it explains no score.
    """

    values: Tensor
    target: Target | None


Reporting = Generator[Event, Any, Found]
"""What an attribution's function gives: its events, and in the end the map."""


def attribution(
    identifier: str, *, needs: Collection[str], cites: str, batchable: bool = False
) -> Callable[[Callable[[Run[P]], Reporting]], Technique[P]]:
    """Makes a `Technique` of a generator function that yields its events and returns the map it `Found`.

    The report gets the map's extent, how it meets a `mask` if one is given, and with scores=full the scorecard.
    """

    def decorate(function: Callable[[Run[P]], Reporting]) -> Technique[P]:
        @functools.wraps(function)
        def reported(run: Run[P]) -> Iterator[Event]:
            truth = ground_truth(run)
            further = scorecard_steps(run) if run.params.scores == "full" else 0
            done, found = yield from _counted(function(run), further)
            yield extent(found.values)
            if truth is not None:
                yield localisation(found.values, truth)
            if further:
                remade = functools.partial(_remade, function, run, found.target)
                for event in scorecard(run, found.values, found.target, remade):
                    yield _later(event, done, further)

        return technique(identifier, needs=needs, cites=cites, extra_images=MASK, batchable=batchable)(reported)

    return decorate


def _counted(events: Reporting, further: int) -> Generator[Event, Any, tuple[int, Found]]:
    """The events, with progress towards so many further steps, then how many steps they took, and what they found."""
    done, answer = 0, None
    while True:
        try:
            event = events.send(answer)
        except StopIteration as end:
            return done, end.value
        if isinstance(event, Progress):
            done = event.total
            event = replace(event, total=event.total + further)
        answer = yield event


def _later(event: Event, done: int, further: int) -> Event:
    return replace(event, step=done + event.step, total=done + further) if isinstance(event, Progress) else event


def _remade(
    function: Callable[[Run[P]], Reporting], run: Run[P], target: Target | None, network: Network
) -> Generator[Event, None, Tensor]:
    """The map of the same target by another network, with the same random numbers."""
    params, rng = run.params.for_comparison(target), np.random.default_rng(run.seed)
    found = yield from function(replace(run, network=network, params=params, rng=rng))
    return found.values
