"""Runs watched over a real socket: by one, by many, late, slowly, and not at all."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convscope
from convscope.testing import ServerProcess
from support.hostile_plugin import HOSTILE
from support.pictures import photo

pytestmark = pytest.mark.slow


def count(client: convscope.Client, **fields: Any) -> convscope.Run:
    return client.visualize("hostile.count", model="tiny", **fields)


def test_previews_arrive_while_the_run_is_on_its_way(client: convscope.Client) -> None:
    run = client.visualize("deepdream", image=photo(), layer="blocks.2", steps=6, octaves=2, size=128)
    kinds = [event.kind for event in run]
    assert kinds[0] == "accepted"
    assert kinds.count("progress") == 12
    assert kinds.index("preview") < kinds.index("succeeded") == len(kinds) - 1
    result = run.result()
    assert {"input", "deepdream"} <= result.images.keys()
    assert result.previews


def test_every_watcher_sees_the_same_log_whenever_it_comes(client: convscope.Client) -> None:
    run = count(client, steps=40, pause=0.02)
    logs: list[list[tuple[int, str]]] = [[] for _ in range(3)]

    def watch(log: list[tuple[int, str]], delay: float) -> None:
        time.sleep(delay)
        log += [(event.sequence, event.kind) for event in client.attach(run.id)]

    threads = [threading.Thread(target=watch, args=(log, 0.3 * n)) for n, log in enumerate(logs)]
    for thread in threads:
        thread.start()
    mine = [(event.sequence, event.kind) for event in run]
    for thread in threads:
        thread.join()
    assert [sequence for sequence, _ in mine] == list(range(1, len(mine) + 1))
    assert logs == [mine] * 3
    assert [(e.sequence, e.kind) for e in client.attach(run.id, after_sequence=10)] == mine[10:]


def test_a_result_survives_its_watcher(server: ServerProcess, client: convscope.Client) -> None:
    with convscope.connect(server.address) as other:
        run = other.visualize("saliency", image=photo(), detach=True, labels={"who": "laptop"})
        run_id = run.id
    (info,) = client.runs(labels={"who": "laptop"})
    assert info.id == run_id
    result = client.attach(run_id).result()
    assert result.tensors["saliency"].shape == (224, 224)


def test_the_same_request_id_is_the_same_run(client: convscope.Client) -> None:
    request_id = "7f2c4f0e-3a53-4c3c-9a53-1b2f3c4d5e6f"
    first = count(client, request_id=request_id, steps=2)
    again = count(client, request_id=request_id, steps=2)
    first.result()
    again.result()
    assert first.id == again.id
    with pytest.raises(convscope.AlreadyExists):
        count(client, request_id=request_id, steps=3).result()


def test_cancel_stops_the_device_at_once_and_may_be_said_twice(client: convscope.Client) -> None:
    run = count(client, steps=100_000, pause=0.02)
    next(event for event in run if event.kind == "progress")
    run.cancel()
    run.cancel()
    with pytest.raises(convscope.RunCancelled):
        run.result(timeout=10)
    assert run.refresh().state == "cancelled"
    assert not any(device.runs for device in client.devices())


def test_a_run_nobody_watches_any_more_is_cancelled_after_the_grace_period(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--devices", "cpu", "--plugin", HOSTILE, disconnect_grace=1, warm_models="") as server:
        with convscope.connect(server.address) as client:
            run = count(client, steps=100_000, pause=0.02)
            next(event for event in run if event.kind == "progress")
            run_id = run.id
        with convscope.connect(server.address) as client:
            deadline = time.monotonic() + 20
            while (state := client.runs(limit=1)[0].state) == "running" and time.monotonic() < deadline:
                time.sleep(0.2)
            assert state == "cancelled"
            with pytest.raises(convscope.RunCancelled, match=r"disconnected|watched"):
                client.attach(run_id).result(timeout=5)


def test_interleaved_runs_give_the_pixels_they_give_alone(client: convscope.Client) -> None:
    def dream() -> convscope.Run:
        return client.visualize("deepdream", image=photo(), layer="blocks.2", steps=3, octaves=2, size=96, seed=5)

    alone = dream().result().tensors["deepdream"]
    runs = [dream(), client.visualize("saliency", image=photo()), dream()]
    first, _, second = (run.result() for run in runs)
    assert np.array_equal(first.tensors["deepdream"], alone)
    assert np.array_equal(second.tensors["deepdream"], alone)


def test_large_results_and_large_images_travel_by_digest(client: convscope.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), dtype=np.uint8)
    result = client.visualize("saliency", image=noise, fit="keep", size=1024).result()
    assert result.images["input"].size == (1024, 1024)
    assert result.tensors["saliency"].shape == (1024, 1024)


def test_models_can_be_listed_loaded_described_and_unloaded(client: convscope.Client) -> None:
    model = client.model("efficientnet_lite0")
    assert len(model.classes) == 1000
    assert {"first_conv", "last_conv", "penultimate", "logits"} <= model.aliases.keys()
    assert any(layer.name == "blocks.4" for layer in model.layers)
    assert client.load_model("tiny")
    assert "tiny" in {m.name for device in client.devices() for m in device.models}
    client.unload_model("tiny")
    assert "tiny" not in {m.name for device in client.devices() for m in device.models}
