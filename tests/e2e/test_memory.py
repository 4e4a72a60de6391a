"""Memory that is short: who waits for it, and who makes do with less."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch
from pydantic import ByteSize, Field

import convscope
from convscope._embedded import EmbeddedTransport
from convscope.client import Client
from convscope_sdk import Event, Params, Progress, Run, Scores, technique
from convscope_server.config import Settings
from convscope_server.embedded import EmbeddedServer

pytestmark = pytest.mark.slow

MIB = 1 << 20


class Batch(Params):
    """Parameters of `wide`."""

    batch: int | None = Field(None, ge=1, description="Pictures at once.")


@technique("wide")
def wide(run: Run[Batch]) -> Iterator[Event]:
    """Takes eight pictures at once, where there is memory for two."""
    batch = run.inner_batch(run.params.batch or 8)
    yield Progress(1, 2)
    if batch > 2:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    yield Scores({"batch": batch})


class Steps(Params):
    """Parameters of `hungry`."""

    steps: int = Field(2, ge=1, description="Steps to take.")


@technique("hungry")
def hungry(run: Run[Steps]) -> Iterator[Event]:
    """Holds 256 MiB from its first step to its last."""
    mine = torch.ones(64 * MIB)
    for step in range(1, run.params.steps + 1):
        time.sleep(0.1)
        yield Progress(step, run.params.steps, {"first": float(mine[0])})


@pytest.fixture
def client() -> Iterator[Client]:
    settings = Settings(devices=("cpu",), warm_models=(), device_memory_bytes=ByteSize(480 * MIB))
    with EmbeddedServer(settings, techniques=[wide, hungry]) as server, Client(EmbeddedTransport(server)) as client:
        yield client


def test_an_inner_batch_that_finds_no_memory_is_tried_once_more_and_smaller(client: Client) -> None:
    run = client.visualize("wide", model="efficientnet_lite0")
    events = list(run)
    assert [event.kind for event in events if event.kind in {"started", "note", "succeeded"}] == [
        *("started", "note", "started", "succeeded"),
    ]
    assert [event.attempt for event in events if event.kind == "started"] == [1, 2]
    assert any("out of memory" in (event.note or "") and "4 times smaller" in (event.note or "") for event in events)
    assert run.result().report.scores == {"batch": 2.0}


def test_what_is_too_large_even_then_fails_as_it_always_did(client: Client) -> None:
    run = client.visualize("wide", model="efficientnet_lite0", batch=64)
    with pytest.raises(convscope.ResourceExhausted, match="has no memory for 2"):
        run.result()


def test_a_run_waits_where_an_earlier_one_like_it_took_too_much_for_two(client: Client) -> None:
    client.visualize("hungry", model="efficientnet_lite0").result()
    first = client.visualize("hungry", model="efficientnet_lite0", steps=50, detach=True)
    second = client.visualize("hungry", model="efficientnet_lite0", detach=True)
    events = list(client.attach(second.id))
    assert any(event.kind == "queued" and event.for_memory for event in events)
    started = next(event.time for event in events if event.kind == "started")
    ended = next(event.time for event in client.attach(first.id) if event.kind == "succeeded")
    assert started >= ended
    assert events[-1].kind == "succeeded"
