"""Observers are told everything by a process of their own, and whatever they do, runs never notice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import convscope
from convscope.testing import ServerProcess
from support import hostile_plugin, observer_plugin

pytestmark = pytest.mark.slow


class Watched:
    """A server with the observer, and what the observer has written down."""

    def __init__(self, server: ServerProcess, client: convscope.Client, diary: Path) -> None:
        self.server = server
        self.client = client
        self._diary = diary

    def run(self, **labels: str) -> convscope.Run:
        run = self.client.visualize("observed.words", model="tiny", labels=labels, seed=7)
        run.result(timeout=60)
        return run

    def entries(self, run: convscope.Run) -> list[list[Any]]:
        lines = self._diary.read_text().splitlines() if self._diary.exists() else []
        return [entry[1:] for entry in map(json.loads, lines) if entry[0] == run.id]


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("observed")
    diary = folder / "diary.jsonl"
    plugins = [flag for file in (observer_plugin, hostile_plugin) for flag in ("--plugin", str(file.__file__))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OBSERVER_DIARY", str(diary))
        with (
            ServerProcess(folder, "--devices", "cpu", *plugins, warm_models="") as server,
            convscope.connect(server.address) as client,
        ):
            yield Watched(server, client, diary)


def test_an_observer_is_told_of_every_entry_in_order_and_in_another_process(watched: Watched) -> None:
    run = watched.run(owner="me")
    until(lambda: ["run_finished", "succeeded"] in watched.entries(run))
    entries = watched.entries(run)
    (started,) = [entry for entry in entries if entry[0] == "run_started"]
    assert started[1:5] == ["observed.words", "tiny", 7, {"owner": "me"}]
    assert started[5] not in {watched.server.pid, watched.client.devices()[0].pid}
    told = [entry for entry in entries if isinstance(entry[0], int)]
    kinds = [entry[1] for entry in told]
    assert [entry[0] for entry in told] == list(range(1, len(told) + 1))
    assert (kinds[0], kinds[-1]) == ("accepted", "succeeded")
    assert ["result", "hello"] in [entry[1:] for entry in told]


def test_an_observer_that_raises_is_named_in_the_log_and_told_of_the_next(watched: Watched) -> None:
    run = watched.run(mood="raises")
    until(lambda: ["run_finished", "succeeded"] in watched.entries(run))
    assert "an observer's bug" in watched.server.log
    assert "observer_plugin" in watched.server.log


def test_an_observer_that_takes_its_process_down_gets_another(watched: Watched) -> None:
    watched.run(mood="exits")
    until(lambda: "the observers' process has ended" in watched.server.log)
    run = watched.run()
    until(lambda: ["run_finished", "succeeded"] in watched.entries(run))


def test_an_observer_that_never_comes_back_slows_no_run_and_what_it_missed_is_counted(watched: Watched) -> None:
    watched.run(mood="slow")
    began = time.monotonic()
    for _ in range(3):  # more events than the observer's queue takes
        watched.client.visualize("hostile.count", model="tiny", steps=1500).result(timeout=60)
    assert time.monotonic() - began < 60
    until(lambda: "observes too slowly" in watched.server.log)
