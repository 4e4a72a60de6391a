"""Long runs whose worker, server or turn is taken away: they go on, to the bits of one that was left alone."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import convscope
from convscope.testing import ServerProcess
from support.hostile_plugin import HOSTILE
from support.pictures import photo

pytestmark = pytest.mark.slow

WALK = str(Path(__file__).parents[1] / "support" / "walking.py")
DREAM = {"layer": "blocks.4", "steps": 12, "octaves": 2, "size": 224, "fit": "crop"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Behind one port, whoever serves there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = tmp_path_factory.mktemp("going-on")
    flags = ("--port", port, "--devices", "cpu", "--plugin", WALK, "--plugin", HOSTILE)
    with ServerProcess(place, *flags, warm_models="", checkpoint_seconds=0.2, max_live_runs=2) as running:
        yield running


def digests(run: convscope.Run) -> dict[str, str]:
    """What it made, by name."""
    facts = run.result(timeout=120).report.provenance
    return dict(facts["results"])


def until_step(run: convscope.Run, step: int) -> None:
    """Watch it until it has been kept at some step from there on."""
    for event in run:
        if event.kind == "checkpointed" and event.step >= step:
            return
    pytest.fail("it ended before it was kept")


def from_steps(client: convscope.Client, run_id: str) -> list[int]:
    """Where the run began, and where it went on from."""
    return [event.step for event in client.attach(run_id) if event.kind == "started"]


def walking(client: convscope.Client, **fields: Any) -> convscope.Run:
    return client.visualize("test.walk", model="tiny", **{"steps": 40, "pause": 0.05, "cache": "bypass", **fields})


def dreaming(client: convscope.Client, **fields: Any) -> convscope.Run:
    return client.visualize("deepdream", image=photo(), **DREAM, cache="bypass", **fields)


def test_a_dream_outlives_two_workers_and_two_servers_to_the_same_bits(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        whole = digests(dreaming(client))
        run = dreaming(client)
        until_step(run, 3)
        os.kill(client.devices()[0].pid, signal.SIGKILL)
        until_step(run, 7)
        server.kill()
        server.start()
        until_step(run, 12)
        assert server.stop() == 0  # it drains, and puts the run down
        server.start()
        until_step(run, 16)
        os.kill(client.devices()[0].pid, signal.SIGKILL)
        assert digests(run) == whole
        began, *later = from_steps(client, run.id)
        assert began == 0
        assert len(later) >= 4
        assert all(step >= least for step, least in zip(later, (3, 7, 12, 16), strict=False))
        assert not list((server.data / "checkpoints").iterdir())


def test_a_rolling_restart_loses_no_work_and_its_watchers_come_back_by_themselves(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        wholes = [digests(walking(client, seed=seed)) for seed in range(2)]
        runs = [walking(client, seed=seed, detach=True) for seed in (0, 1, 0, 1)]  # two at work, two in the queue
        until_step(runs[0], 5)
        for _ in range(2):
            assert server.stop() == 0
            server.start()
        assert [digests(run) for run in runs] == [*wholes, *wholes]
        assert max(from_steps(client, runs[0].id)) >= 5
        for run in runs:
            kinds = [event.kind for event in client.attach(run.id)]
            assert sum(kind in {"succeeded", "failed", "cancelled"} for kind in kinds) == 1


def test_a_paused_run_frees_its_device_survives_a_restart_and_goes_on_when_it_is_resumed(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        whole = digests(walking(client))
        run = walking(client)
        until_step(run, 5)
        run.pause()
        assert next(event for event in run if event.kind == "paused")
        assert client.devices()[0].runs == ()
        server.kill()
        server.start()
        assert client.attach(run.id).refresh().state == "paused"
        assert digests(walking(client, seed=9))
        run.resume()
        assert digests(run) == whole
        assert from_steps(client, run.id)[-1] >= 5


def test_a_batch_run_gives_way_to_an_interactive_one_of_somebody_and_goes_on_later(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        whole = digests(walking(client))
        batch = [walking(client, priority="batch", seed=seed, detach=True) for seed in (0, 1)]
        until_step(batch[0], 3)
        until_step(batch[1], 3)
        urgent = walking(client, steps=2, pause=0.0, priority="interactive")
        urgent.result(timeout=20)
        states = [client.attach(run.id).refresh().state for run in batch]
        assert "succeeded" not in states
        assert digests(batch[0]) == whole
        assert sum(len(from_steps(client, run.id)) for run in batch) == 3


def test_no_worker_outlives_the_servers_of_this_file(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        worker = psutil.Process(client.devices()[0].pid)
    assert server.stop() == 0
    worker.wait(20)
    server.start()
