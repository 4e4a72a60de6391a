"""Checks of what a technique yields."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from convscope_sdk.conformance.check import NonConformity
from convscope_sdk.conformance.networks import SIZE
from convscope_sdk.conformance.recording import arrays, record
from convscope_sdk.events import (
    Event,
    Heatmap,
    Image,
    ImageGrid,
    Predictions,
    Preview,
    Progress,
    Result,
    Scores,
)
from convscope_sdk.pictures import map_of
from convscope_sdk.render import Renderer, preview_picture

if TYPE_CHECKING:
    from convscope_sdk.conformance.subject import Subject

__all__ = [
    "assert_sound",
    "check_progress_is_monotone",
    "check_results_are_sound",
    "check_runs_with_defaults",
    "check_steps_keep_their_bound",
    "check_yields_events",
]

_EVENTS = get_args(Event)
_RESULTS = get_args(Result)
_SLACK = 1e-3


def check_runs_with_defaults(subject: Subject) -> None:
    """The first thing that a user types has no parameters: it works on a plain, a residual, a functional-ReLU network and a ViT, or is refused by a typed error."""  # noqa: E501 - the reason is one paragraph
    for name, make in subject.networks.items():
        network = make()
        start = partial(subject.stream, network, params={})
        found = record(subject.technique, network, start, patience=subject.patience).whole()
        if found.refusal is None and not found.closed and not found.all(*_RESULTS):
            raise NonConformity(
                f"with its defaults it ends on {name} without a result; yield an Image, Heatmap, Table, …"
            )


def check_yields_events(subject: Subject) -> None:
    """The host draws and stores events of the SDK; anything else ends the run."""
    for recording in subject.finished:
        for event in recording.events:
            if not isinstance(event, _EVENTS):
                raise NonConformity(f"it yields {type(event).__name__}; yield the events of convscope_sdk")
        if not recording.all(*_RESULTS):
            raise NonConformity(f"it ends on {recording.network} without a result; yield an Image, Heatmap, Table, …")


def check_results_are_sound(subject: Subject) -> None:
    """A picture with NaN, a wrong shape, or values beyond black and white fails its run at the very end: arrays are finite, pictures in [0, 1] or uint8, maps as large as the input."""  # noqa: E501 - the reason is one paragraph
    for recording in subject.finished:
        renderer = Renderer()
        for event in recording.events:
            try:
                assert_sound(event)
                if isinstance(event, Heatmap) and "image" in subject.technique.needs:
                    _assert_covers_input(event, subject)
                if isinstance(event, _RESULTS):
                    renderer.render(event)
                elif isinstance(event, Preview):
                    preview_picture(event)
            except (ValueError, TypeError) as error:  # the renderer's, whose words are for the author
                raise NonConformity(f"on {recording.network}, {_called(event)}: {error}") from error


def check_progress_is_monotone(subject: Subject) -> None:
    """Bars and remaining times are made of `Progress`: steps never fall, the total stays, and the last step is the total."""  # noqa: E501 - the reason is one paragraph
    for recording in subject.finished:
        told = [(event.step, event.total) for event in recording.all(Progress)]
        if not told:
            continue
        steps, totals = [step for step, _ in told], {total for _, total in told}
        if steps[0] < 1 or steps != sorted(steps):
            raise NonConformity(f"steps count from 1 and never fall, not {steps[:8]}")
        if len(totals) > 1:
            raise NonConformity(f"the total is the same in every Progress of a run, not {sorted(totals)}; 0 if unknown")
        (total,) = totals
        if total and steps[-1] != total:
            raise NonConformity(f"the last step is {steps[-1]}, and the total was said to be {total}")


def check_steps_keep_their_bound(subject: Subject) -> None:
    """A step longer than `stall_seconds` is taken for stuck and its worker is replaced; on tiny networks none comes near."""  # noqa: E501 - the reason is one paragraph
    bound = subject.technique.stall_seconds
    for recording in subject.finished:
        longest = max(recording.seconds)
        if longest > bound:
            number = recording.seconds.index(longest) + 1
            raise NonConformity(
                f"step {number} on {recording.network} took {longest:.2f} s and may take {bound:g} s; "
                f"yield more often, or declare @technique(stall_seconds=…)"
            )


def assert_sound(event: Any) -> None:
    """Whether arrays, numbers and captions of an event can be drawn and stored.

    Raises:
        ValueError: they cannot; the text says why.
    """
    for array in arrays(event):
        if array.dtype.kind not in "biuf":
            raise ValueError(f"arrays hold numbers, not {array.dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("not every value is finite")
        if _is_picture(event) and array.dtype.kind == "f" and array.size and not _within(array):
            raise ValueError(f"a picture's values lie in [0, 1], not in [{array.min():.3g}, {array.max():.3g}]")
    if isinstance(event, Scores | Progress):
        numbers = event.values if isinstance(event, Scores) else event.metrics
        if not all(math.isfinite(float(value)) for value in numbers.values()):
            raise ValueError(f"numbers are finite, not {dict(numbers)}")
    if isinstance(event, Predictions) and not all(-_SLACK <= p <= 1 + _SLACK for _, _, p in event.items):
        raise ValueError("probabilities lie in [0, 1]")
    if not str(getattr(event, "caption", "")).isprintable():
        raise ValueError("a caption is one printable line")


def _assert_covers_input(event: Heatmap, subject: Subject) -> None:
    shape = map_of(event.values).shape
    if shape != (SIZE, SIZE) and event.overlay and not {"fit", "size"} & subject.params.keys():
        raise ValueError(f"a map over the input has its height and width, ({SIZE}, {SIZE}), not {shape}")


def _is_picture(event: object) -> bool:
    return isinstance(event, Image | ImageGrid) or (isinstance(event, Preview) and not event.heatmap)


def _within(array: Any) -> bool:
    return bool(array.min() >= -_SLACK and array.max() <= 1 + _SLACK)


def _called(event: object) -> str:
    name = getattr(event, "name", "")
    return f"{type(event).__name__} {name!r}" if name else type(event).__name__
