"""What plugins do wrong costs their own run, in one real server with one worker and somebody else on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import convscope
from convscope.testing import ServerProcess
from support.hostile_plugin import GARBAGE, HOSTILE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    flags = ("--devices", "cpu", "--plugin", HOSTILE)
    settings = {"warm_models": "", "drain_grace": 1, "max_run_memory_bytes": "256 MiB"}
    with ServerProcess(tmp_path_factory.mktemp("server"), *flags, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[convscope.Client]:
    with convscope.connect(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def neighbour(client: convscope.Client) -> convscope.Run:
    """A run of somebody else's that goes on all the while."""
    run = client.visualize("hostile.count", model="tiny", steps=100_000, pause=0.01, detach=True)
    next(event for event in run if event.kind == "progress")
    return run


def failure(client: convscope.Client, technique: str, **params: Any) -> convscope.ConvscopeError:
    run = client.visualize(f"hostile.{technique}", model="tiny", **params)
    with pytest.raises(convscope.ConvscopeError) as caught:
        run.result(timeout=60)
    return caught.value


@pytest.mark.parametrize(
    ("technique", "reason"),
    [
        ("raise", "TECHNIQUE_FAILED"),
        ("spin", "STEP_STALLED"),
        ("hoard", "RUN_MEMORY_EXCEEDED"),
        ("creep", "RUN_MEMORY_EXCEEDED"),
        ("greedy", "OUT_OF_MEMORY"),
        ("thread", "TECHNIQUE_LEAKED"),
        ("files", "TECHNIQUE_LEAKED"),
    ],
)
def test_a_bad_run_fails_by_name_and_its_neighbour_never_notices(
    technique: str, reason: str, client: convscope.Client, neighbour: convscope.Run, server: ServerProcess
) -> None:
    worker = client.devices()[0].pid
    error = failure(client, technique)
    assert error.reason == reason
    assert "secret" not in str(error)
    if "reference" in error.metadata:
        assert f"hostile.{technique}" in str(error)
        assert f"reference {error.metadata['reference']}" in server.log
    assert client.devices()[0].pid == worker
    assert neighbour.id in client.devices()[0].runs


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_fails_the_run_that_yields_it(
    kind: str, client: convscope.Client, neighbour: convscope.Run, server: ServerProcess
) -> None:
    error = failure(client, "garbage", kind=kind)
    assert error.reason == "TECHNIQUE_FAILED"
    assert error.metadata["technique"] == "hostile.garbage"
    assert f"reference {error.metadata['reference']}" in server.log
    assert neighbour.id in client.devices()[0].runs


def test_a_crash_costs_the_neighbour_a_fresh_start_and_nothing_else(
    client: convscope.Client, neighbour: convscope.Run, server: ServerProcess
) -> None:
    error = failure(client, "exit")
    assert error.reason == "WORKER_LOST"
    assert "exited with status 7 during a step of technique hostile.exit" in str(error)
    assert f"reference {error.metadata['reference']}" in server.log
    told = []
    for event in client.attach(neighbour.id):
        told.append(event)
        if event.kind == "progress" and any(e.kind == "started" and e.attempt == 2 for e in told):
            break
    assert told[-1].progress.step == 1
    assert "its worker was lost; it starts again from the beginning" in [event.note for event in told]
    assert client.visualize("hostile.count", model="tiny").result(timeout=60)


def test_an_encoder_that_takes_the_worker_down_is_named_beside_the_technique(
    client: convscope.Client, neighbour: convscope.Run
) -> None:
    run = client.visualize("hostile.words", model="tiny", media_types=["text/x-last-words"])
    with pytest.raises(convscope.ConvscopeError) as caught:
        run.result(timeout=60)
    assert caught.value.reason == "WORKER_LOST"
    assert "of technique hostile.words or of the encoder of text/x-last-words" in str(caught.value)
    assert client.visualize("hostile.words", model="tiny").result(timeout=60).texts == {"words": "hello"}
    assert client.run(neighbour.id).state in {"running", "queued"}


def test_after_all_of_it_a_run_that_prints_a_gigabyte_leaves_a_small_log(
    client: convscope.Client, server: ServerProcess
) -> None:
    assert client.visualize("hostile.flood", model="tiny").result(timeout=120)
    end = time.monotonic() + 10
    while "bytes too many" not in server.log and time.monotonic() < end:
        time.sleep(0.1)
    assert "bytes too many" in server.log
    assert len(server.log) < 4 << 20
