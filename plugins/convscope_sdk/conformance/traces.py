"""Checks of what a technique leaves behind: after each step, and when it is closed early."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import torch

from convscope_sdk.conformance.check import NonConformity
from convscope_sdk.isolation import ModeGuard, NetworkGuard, RandomState

if TYPE_CHECKING:
    from convscope_sdk.conformance.subject import Subject
    from convscope_sdk.events import Event
    from convscope_sdk.network import Network

__all__ = [
    "check_cancels_within_one_step",
    "check_closed_early_leaves_the_network_clean",
    "check_every_step_leaves_the_network_clean",
]

_FIRST_STEPS = 4
_GRACE_SECONDS = 1.0


def check_every_step_leaves_the_network_clean(subject: Subject) -> None:
    """Between two steps the network belongs to other runs: hooks, modes, gradients and parameters are as they were."""
    for recording in subject.finished:
        for step, leaks in recording.leaks.items():
            raise NonConformity(
                f"on {recording.network}, step {step} leaves {', '.join(leaks)} changed; restore it before every yield"
            )


def check_closed_early_leaves_the_network_clean(subject: Subject) -> None:
    """A cancel closes the generator wherever it stands: after any step, hooks, modes, gradients, parameters and random numbers are as they were."""  # noqa: E501 - the reason is one paragraph
    for steps in _stops(subject):
        network = subject.new_network()
        with torch.random.fork_rng(devices=[]):
            _close_after(subject, network, steps)


def check_cancels_within_one_step(subject: Subject) -> None:
    """Cancel is heard at the next step: a generator that is closed ends, without another look at the network."""
    longest = max(max(recording.seconds) for recording in subject.finished)
    for steps in _stops(subject):
        network = subject.new_network()
        stream = subject.stream(network)
        _advance(stream, steps)
        looks: list[object] = []
        handle = network.module.register_forward_pre_hook(lambda *_, looks=looks: looks.append(None))
        began = time.perf_counter()
        try:
            cast("Any", stream).close()
        except RuntimeError as error:
            raise NonConformity(f"closed after step {steps}, it goes on: {error}; let GeneratorExit pass") from error
        finally:
            handle.remove()
        took = time.perf_counter() - began
        if looks:
            raise NonConformity(f"closed after step {steps}, it calls the network {len(looks)} more times")
        if took > longest + _GRACE_SECONDS:
            raise NonConformity(
                f"closed after step {steps}, it takes {took:.1f} s to end; its longest step takes {longest:.1f} s"
            )


def _stops(subject: Subject) -> list[int]:
    """Where runs are stopped: before the first step, after each of the first ones, in the middle and at the end."""
    count = len(next(r for r in subject.finished if r.network == subject.home).events)
    return sorted({0, *range(1, min(_FIRST_STEPS, count) + 1), count // 2, count})


def _close_after(subject: Subject, network: Network, steps: int) -> None:
    guard, modes = NetworkGuard(network.module), ModeGuard(network.device)
    stream = subject.stream(network)
    random = RandomState(network.device)
    _advance(stream, steps)
    try:
        cast("Any", stream).close()
    except Exception as error:
        raise NonConformity(f"closed after step {steps}, it raises {type(error).__name__}: {error}") from error
    finally:
        leaks = modes.leaks()
        modes.restore()
    leaks += guard.leaks() or (["parameter values"] if guard.values_changed() else [])
    if not random.is_present():
        leaks.append("random numbers of others")
    if leaks:
        raise NonConformity(
            f"closed after step {steps}, it leaves {', '.join(leaks)} changed; restore with `with` or `finally`"
        )


def _advance(stream: Iterator[Event], steps: int) -> None:
    for _ in range(steps):
        next(stream)
