"""`kill -9` at any moment."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import support.crash_server
from convscope_server.images.content import ContentStore
from convscope_server.runs.events import Result
from convscope_server.runs.run import LoggedEvent
from support.aio import eventually, in_loop
from support.fake_engine import FakeEngine, steps
from support.run_house import assert_whole_log, run_service, watched

KILLS = 20
SERVER = Path(support.crash_server.__file__)


def serve_and_kill(data: Path, seed: int, seconds: float, *, after_recovery: bool) -> None:
    path = os.pathsep.join([str(SERVER.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(
        [sys.executable, SERVER, data, str(seed)], stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        if after_recovery:
            assert server.stdout.readline() == "recovered\n"
        time.sleep(seconds)
        os.kill(server.pid, signal.SIGKILL)
    assert server.returncode == -signal.SIGKILL


def assert_sane(data: Path) -> None:
    """No hole in any log, at most one terminal event each, and a state that agrees with it."""
    with closing(sqlite3.connect(data / "runs.db")) as database:
        rows = database.execute(
            "SELECT r.state, r.last_sequence, r.end_time IS NOT NULL,"
            " count(e.sequence), max(e.sequence), sum(e.terminal)"
            " FROM runs r LEFT JOIN run_events e ON e.run = r.id GROUP BY r.id"
        ).fetchall()
    assert rows
    for state, last, over, count, newest, terminal in rows:
        assert last == count == newest
        assert terminal == over == (state in {"succeeded", "failed", "cancelled"})


@pytest.mark.slow
def test_every_accepted_run_ends_exactly_once_however_often_the_server_is_killed(tmp_path: Path) -> None:
    dice = random.Random(7)
    for kill in range(KILLS):
        # Every fourth is killed while it starts or takes up what the one before left.
        after_recovery = kill % 4 != 3
        seconds = dice.uniform(0, 0.25) if after_recovery else dice.uniform(0.2, 1.2)
        serve_and_kill(tmp_path, kill, seconds, after_recovery=after_recovery)
        assert_sane(tmp_path)
    accepted = (tmp_path / "accepted").read_text().split()
    assert len(accepted) > KILLS
    assert_all_end(tmp_path, accepted)


@in_loop
async def assert_all_end(data: Path, accepted: list[str]) -> None:
    """A last server takes up what is left; then every run has its whole log, and every large result is there."""
    content = ContentStore(str(data / "content"))
    url = f"sqlite:///{data / 'runs.db'}"
    async with run_service(FakeEngine(capacity=50, script=steps(2)), url=url, content=content) as service:
        await eventually(lambda: not service._live, seconds=30)
        assert_sane(data)
        states = set()
        for run in accepted:
            items = await watched(service, run)
            assert_whole_log(items)
            states.add((await service.get(run)).state)
            results = [i.event for i in items if isinstance(i, LoggedEvent) and isinstance(i.event, Result)]
            large = [result.artifact.digest for result in results if result.artifact.content is None]
            assert await content.missing(large) == []
        assert states == {"succeeded", "failed", "cancelled"}
