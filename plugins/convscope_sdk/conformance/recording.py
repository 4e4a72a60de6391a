"""One run on one tiny network, watched step by step."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from convscope_sdk.conformance.check import NonConformity
from convscope_sdk.conformance.witness import Deeds, settings, watching
from convscope_sdk.errors import TechniqueError
from convscope_sdk.events import Event, Note
from convscope_sdk.isolation import ModeGuard, NetworkGuard
from convscope_sdk.pictures import to_array

if TYPE_CHECKING:
    from convscope_sdk.network import Network
    from convscope_sdk.technique import Technique

__all__ = ["Recording", "alike", "arrays", "record", "same"]

_ROUNDING = 1e-4


@dataclass(slots=True)
class Recording:
    """What happened.

    Attributes:
        network: Name of the network.
        events: Everything yielded.
        seconds: What each step took.
        leaks: What a step left changed on the network or in the thread's modes, by its number from 1.
        refusal: The typed refusal that ended it.
        error: Whatever else ended it.
        closed: Whether it was closed because it took longer than its patience.
        deeds: What it did to the world.
        changed: Names of the process's settings that are not as they were.
    """

    network: str
    events: list[Any] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    leaks: dict[int, list[str]] = field(default_factory=dict)
    refusal: TechniqueError | None = None
    error: BaseException | None = None
    closed: bool = False
    deeds: Deeds = field(default_factory=Deeds)
    changed: list[str] = field(default_factory=list)

    def all(self, *kinds: type[Any]) -> list[Any]:
        """The events of these kinds, in order."""
        return [event for event in self.events if isinstance(event, kinds)]

    def whole(self) -> Recording:
        """Itself, where the run ended by itself or was refused.

        Raises:
            NonConformity: the technique raised something that is no refusal.
        """
        if self.error is not None:
            raise NonConformity(
                f"on {self.network}, step {len(self.seconds)} raised {type(self.error).__name__}: {self.error}; "
                f"raise a TechniqueError that says what to do where the caller can do something, else mend it"
            ) from self.error
        return self


def record(
    technique: Technique[Any],
    network: Network,
    start: Callable[[], Iterator[Event]],
    *,
    patience: float = float("inf"),
) -> Recording:
    """The run that `start` begins, to its end or until `patience` seconds have passed.

    What libraries set while a run imports them is put back and not held against it: then a second run is watched.
    """
    _warm(network)
    imported, environment, filters = set(sys.modules), dict(os.environ), list(warnings.filters)
    found = _recorded(technique, network, start, patience)
    if found.changed and set(sys.modules) != imported:
        os.environ.clear()
        os.environ.update(environment)
        warnings.filters[:] = filters  # type: ignore[index]  # a list, whatever its stub says
        found.changed = _recorded(technique, network, start, patience).changed
    return found


def _recorded(
    technique: Technique[Any], network: Network, start: Callable[[], Iterator[Event]], patience: float
) -> Recording:
    found = Recording(network.name)
    module = sys.modules.get(technique.function.__module__)
    with watching() as deeds:
        before = settings(module)
        try:
            _step_through(found, network, start(), patience)
        except TechniqueError as refusal:  # before the first step
            found.refusal = refusal
        after = settings(module)
    found.deeds = deeds
    found.changed = [name for name in before if not _equal(before[name], after.get(name))]
    return found


def _warm(network: Network) -> None:
    """Torch loads much of itself, and sets what it likes, at the first looks into a network: no technique's deed."""
    if network.spec.kind == "generator":
        return
    size = network.input_size
    with torch.enable_grad():
        picture = torch.zeros(1, 3, size, size, requires_grad=True)
        output = network.module(network.normalize(picture))
        if output.requires_grad:
            torch.autograd.grad(output.sum(), picture)
    assert network.layers


def _step_through(found: Recording, network: Network, stream: Iterator[Event], patience: float) -> None:
    guard, modes, began = NetworkGuard(network.module), ModeGuard(network.device), time.perf_counter()
    try:
        while time.perf_counter() - began < patience:
            if not _advance(found, stream):
                return
            _look(found, guard, modes)
        found.closed = True
    finally:
        _close(stream)
        _look(found, guard, modes)


def _advance(found: Recording, stream: Iterator[Event]) -> bool:
    """One step; False at the end."""
    began = time.perf_counter()
    try:
        found.events.append(next(stream))
    except StopIteration:
        return False
    except TechniqueError as refusal:
        found.refusal = refusal
        return False
    # The technique's bug, SystemExit included; a check says so.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
        found.error = error
        return False
    finally:
        found.seconds.append(time.perf_counter() - began)
    return True


def _look(found: Recording, guard: NetworkGuard, modes: ModeGuard) -> None:
    """Note what is not as it was, and put it back, so that each trace is told once."""
    leaks = modes.leaks()
    if leaks:
        modes.restore()  # a mode that leaked would run inside every look at a tensor
    leaks += guard.leaks() or (["parameter values"] if guard.values_changed() else [])
    if leaks:
        found.leaks.setdefault(len(found.seconds), []).extend(leaks)
        guard.restore()
        guard.accept_values()


def _close(stream: Iterator[Event]) -> None:
    cast("Any", stream).close()


def arrays(event: object) -> list[NDArray[Any]]:
    """The arrays in an event."""
    found = []
    for name in ("image", "values", "tiles"):
        value = getattr(event, name, None)
        parts = value if isinstance(value, list | tuple) else [value]
        found += [np.asarray(to_array(part)) for part in parts if hasattr(part, "__array__")]
    return found


def same(first: object, second: object) -> bool:
    """Whether two events say the same, to the bit; notes and metrics may speak of time."""
    if type(first) is not type(second):
        return False
    if isinstance(first, Note):
        return True
    ours, theirs = arrays(first), arrays(second)
    if len(ours) != len(theirs) or not all(map(_equal, ours, theirs)):
        return False
    words = ("name", "text", "step", "total", "rows", "items", "caption")
    return all(_equal(getattr(first, word, None), getattr(second, word, None)) for word in words)


def alike(first: object, second: object) -> bool:
    """Whether two events say the same but for rounding: arrays and numbers within a ten-thousandth of the largest."""
    if type(first) is not type(second):
        return False
    if isinstance(first, Note):
        return True
    ours = [*arrays(first), *_numbers(first)]
    theirs = [*arrays(second), *_numbers(second)]
    words = ("name", "text", "caption")
    return (
        len(ours) == len(theirs)
        and all(map(_near, ours, theirs))
        and all(_equal(getattr(first, word, None), getattr(second, word, None)) for word in words)
    )


def _numbers(event: object) -> list[NDArray[Any]]:
    """The plain numbers in an event, as one array."""
    found: list[float] = []

    def collect(value: object) -> None:
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list | tuple):
            for each in value:
                collect(each)
        elif isinstance(value, int | float):
            found.append(float(value))

    for name in ("rows", "items", "values", "step", "total"):
        collect(getattr(event, name, None))
    return [np.asarray(found)]


def _near(first: NDArray[Any], second: NDArray[Any]) -> bool:
    if first.shape != second.shape:
        return False
    first, second = first.astype(np.float64), second.astype(np.float64)
    scale = float(np.abs(first[np.isfinite(first)]).max(initial=0.0))
    # Of 8-bit pixels, the next one.
    allowed = max(_ROUNDING * scale, 1.0 if scale > 1 and np.array_equal(first, first.round()) else 0.0)
    return bool(np.allclose(first, second, rtol=0, atol=allowed, equal_nan=True))


def _equal(first: Any, second: Any) -> bool:
    """Equality that takes arrays, and NaN for NaN."""
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        first, second = np.asarray(first), np.asarray(second)
        numeric = first.dtype.kind in "fc" and second.dtype.kind in "fc"
        return bool(np.array_equal(first, second, equal_nan=numeric))
    try:
        return bool(first == second) or repr(first) == repr(second)
    # Of the technique's own objects, which may compare as they please.
    except Exception:  # noqa: BLE001 - see above
        return first is second
