"""What is asked for twice is computed once, between real processes."""

from __future__ import annotations

from typing import Any

import pytest

import convscope
from convscope.testing import ServerProcess
from support.pictures import photo

pytestmark = pytest.mark.slow


def pixels(run: convscope.Run) -> dict[str, bytes]:
    return {name: image.tobytes() for name, image in run.result().images.items()}


def test_a_repeated_request_gets_the_same_bytes_and_no_device(client: convscope.Client) -> None:
    first = client.visualize("smoothgrad", image=photo(), samples=4, seed=11)
    before = pixels(first)
    second = client.visualize("smoothgrad", image=photo(), samples=4, seed=11, cache="only", labels={"again": "yes"})
    assert pixels(second) == before
    assert second.id != first.id
    kinds = [[event.kind for event in client.attach(run.id) if event.kind != "note"] for run in (first, second)]
    assert kinds[0] == kinds[1]
    assert client.run(second.id).labels == {"again": "yes"}


def test_two_who_watch_one_run_part_without_harm(server: ServerProcess, client: convscope.Client) -> None:
    request: dict[str, Any] = {
        "image": photo(),
        "layer": "blocks.1",
        "steps": 30,
        "octaves": 1,
        "size": 128,
        "seed": 12,
    }
    first = client.visualize("deepdream", **request)
    next(event for event in first if event.kind == "preview")
    with convscope.connect(server.address) as other:
        second = other.visualize("deepdream", **request)
        next(event for event in second if event.kind == "preview")
        assert [device.runs for device in client.devices()] == [(first.id,)]
        first.cancel()
        assert [device.runs for device in client.devices()] == [(first.id,)]
        shared = pixels(second)
    with pytest.raises(convscope.RunCancelled):
        client.attach(first.id).result()
    alone = client.visualize("deepdream", cache="bypass", **request)
    assert pixels(alone) == shared


def test_what_nobody_has_asked_for_is_refused_where_only_the_cache_may_answer(client: convscope.Client) -> None:
    with pytest.raises(convscope.ConvscopeError) as refusal:
        client.visualize("saliency", image=photo(), seed=13, cache="only").result()
    assert refusal.value.reason == "NOT_CACHED"
