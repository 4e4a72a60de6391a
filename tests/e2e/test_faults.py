"""The plug pulled, here and there: what was accepted ends once, and what comes next works."""

from __future__ import annotations

import itertools
import os
import signal
import time
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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, "--devices", "cpu", "--plugin", HOSTILE, warm_models="", drain_grace=1) as running:
        yield running


def endless(client: convscope.Client, **fields: Any) -> convscope.Run:
    run = client.visualize("hostile.count", model="tiny", steps=100_000, pause=0.02, **fields)
    next(event for event in run if event.kind == "progress")
    return run


def ends(client: convscope.Client, run_id: str) -> list[str]:
    return [event.kind for event in client.attach(run_id) if event.kind in {"succeeded", "failed", "cancelled"}]


def test_a_killed_worker_fails_its_runs_once_and_the_next_run_works(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        run = endless(client)
        os.kill(client.devices()[0].pid, signal.SIGKILL)
        with pytest.raises(convscope.RunFailed) as caught:
            run.result(timeout=60)
        assert caught.value.reason == "WORKER_LOST"
        assert ends(client, run.id) == ["failed"]
        again = endless(client, max_restarts=1)
        os.kill(client.devices()[0].pid, signal.SIGKILL)
        assert next(event for event in again if event.kind == "started")
        assert next(event for event in again if event.kind == "progress").progress.step == 1
        again.cancel()
        assert client.visualize("hostile.count", model="tiny").result(timeout=60)


def test_a_killed_front_end_keeps_results_and_ends_every_run_when_it_is_back(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        done = client.visualize("saliency", image=photo(), detach=True)
        pixels = done.result().tensors["saliency"]
        lost, waiting = endless(client, detach=True), client.visualize("hostile.count", model="tiny", detach=True)
        worker = client.devices()[0].pid
        ids = done.id, lost.id, waiting.id
    server.kill()
    psutil.Process(worker).wait(10) if psutil.pid_exists(worker) else None
    server.start()
    with convscope.connect(server.address) as client:
        assert (client.attach(ids[0]).result().tensors["saliency"] == pixels).all()
        assert ends(client, ids[1]) == ["failed"]
        assert ends(client, ids[2]) in (["succeeded"], ["failed"])
        assert client.visualize("hostile.count", model="tiny").result(timeout=60)


def test_a_client_goes_on_by_itself_when_the_front_end_comes_back(tmp_path: Path) -> None:
    """The port stays the same here, as it would behind a name."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ServerProcess(tmp_path, "--port", str(port), "--devices", "cpu", "--plugin", HOSTILE, warm_models="")
    with server, convscope.connect(server.address) as client:
        run = endless(client, max_restarts=3)
        server.kill()
        server.start()
        seen = run.sequence
        event = next(run)
        assert event.sequence == seen + 1
        while event.kind != "progress":
            event = next(run)
        run.cancel()


def test_drain_gives_runs_a_grace_period_and_leaves_them_to_the_next_server(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        run = endless(client, detach=True).id
        began = time.monotonic()
        server.signal(signal.SIGTERM)
    assert server.stop() == 0
    assert time.monotonic() - began >= 1
    server.start()
    with convscope.connect(server.address) as client:
        again = client.attach(run)
        while not [event for event in itertools.islice(again, 20) if event.kind == "progress"]:
            pass
        again.cancel()


def test_a_stalled_step_costs_its_own_run_and_no_other_after_it(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        with pytest.raises(convscope.RunFailed) as caught:
            client.visualize("hostile.stall", model="tiny").result(timeout=60)
        assert caught.value.reason == "STEP_STALLED"
        assert client.visualize("hostile.count", model="tiny").result(timeout=60)


def test_no_process_outlives_its_server(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        worker = psutil.Process(client.devices()[0].pid)
    server.kill()
    worker.wait(20)


def test_out_of_memory_says_how_much_where_and_what_to_do_and_the_worker_lives_on(server: ServerProcess) -> None:
    with convscope.connect(server.address) as client:
        worker = client.devices()[0].pid
        with pytest.raises(convscope.ResourceExhausted) as caught:
            client.visualize("hostile.greedy", model="tiny").result(timeout=60)
        message = str(caught.value)
        assert "1125899906842624" in message or "4503599627370496" in message
        assert "cpu" in message
        assert "smaller" in message
        assert client.visualize("hostile.count", model="tiny").result(timeout=60)
        assert client.devices()[0].pid == worker
