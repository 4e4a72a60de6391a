"""Runs of one worker that are kept, put down and changed at their steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from convscope_sdk.technique import Technique
from convscope_server.engine.messages import Events, Report, RunSpec, Start
from convscope_server.runs import events as log
from support.walking import walk
from support.workshop import Bench

__all__ = ["SPEC", "at_step", "bench", "digests", "keys", "report", "run", "steps"]

SPEC = RunSpec("a", "test.walk", "tiny", {}, seed=3)


class _Reacting(list[Report]):
    """Reports; after that of a step, something happens."""

    def __init__(self, step: int, react: Callable[[], None]) -> None:
        super().__init__()
        self._step, self._react = step, react

    def append(self, report: Report) -> None:
        super().append(report)
        events = report.events if isinstance(report, Events) else ()
        if any(isinstance(event, log.Progress) and event.step == self._step for event in events):
            self._react()


def bench(place: Path, *, every: float = 0.0, technique: Technique[Any] = walk, shared: bool = False) -> Bench:
    """A worker that keeps checkpoints in a place."""
    return Bench(technique, checkpoints_dir=str(place), checkpoint_seconds=every, shared=shared)


def run(made: Bench, spec: RunSpec = SPEC) -> list[log.Event]:
    """The log of a run, worked off."""
    made.worker.post(Start(spec))
    made.work()
    return made.log(spec.id)


def at_step(made: Bench, step: int, *commands: Any) -> Bench:
    """Have commands come to the run when it has taken so many steps."""
    reports = _Reacting(step, lambda: [made.worker.post(command) for command in commands] and None)
    made.reports, made.worker._send = reports, reports.append  # type: ignore[method-assign]  # the test's in its place
    return made


def keys(events: list[log.Event]) -> dict[int, str]:
    """The checkpoints by step."""
    return {event.step: event.key for event in events if isinstance(event, log.Checkpointed)}


def digests(events: list[log.Event]) -> dict[str, str]:
    """The results by name."""
    return {event.artifact.name: event.artifact.digest for event in events if isinstance(event, log.Result)}


def report(events: list[log.Event]) -> log.Report:
    """That of a run that has ended well."""
    assert isinstance(events[-1], log.Succeeded), events[-1]
    return events[-1].report


def steps(events: list[log.Event]) -> list[int]:
    """Those that progress was told of."""
    return [event.step for event in events if isinstance(event, log.Progress)]
