"""Observers: one that keeps a diary, and a technique to observe. A loose plugin file for tests."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from convscope_sdk import Event, Params, Progress, Run, Text, technique
from convscope_sdk.hookspecs import hookimpl
from convscope_sdk.observed import ObservedEvent, ObservedRun


@technique("observed.words")
def words(run: Run[Params]) -> Iterator[Event]:
    """Says something."""
    yield Progress(1, 1)
    yield Text("words", "hello")


def note(*entry: object) -> None:
    with Path(os.environ["OBSERVER_DIARY"]).open("a", encoding="utf-8") as diary:
        diary.write(json.dumps(entry) + "\n")


@hookimpl
def convscope_run_started(run: ObservedRun) -> None:
    note(run.id, "run_started", run.technique, run.model, run.seed, dict(run.labels), os.getpid())


@hookimpl
def convscope_run_event(run: ObservedRun, event: ObservedEvent) -> None:
    artifact = event.data.get("artifact", {})
    note(run.id, event.sequence, event.kind, artifact.get("content", b"").decode())
    mood = run.labels.get("mood")
    if mood == "raises" and event.kind == "progress":
        raise ValueError("an observer's bug")
    if mood == "slow" and event.kind == "accepted":
        time.sleep(600)
    if mood == "exits" and event.kind == "succeeded":
        os._exit(5)


@hookimpl
def convscope_run_finished(run: ObservedRun, event: ObservedEvent) -> None:
    note(run.id, "run_finished", event.kind)
