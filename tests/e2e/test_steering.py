"""Runs that are paused, resumed and changed, by everyone who may: clients of both kinds, and the command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import convscope
from convscope.testing import ServerProcess
from support.pictures import photo
from support.steady_plugin import STEADY

pytestmark = pytest.mark.slow

GRACE = 0.5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that keeps checkpoints often, and patience short."""
    quick: dict[str, Any] = {"checkpoint_seconds": 0.05, "disconnect_grace": GRACE, "max_live_runs": 2}
    folder = tmp_path_factory.mktemp("steering")
    with ServerProcess(folder, "--devices", "cpu", "--plugin", STEADY, **quick) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[convscope.Client]:
    with convscope.connect(server.address) as client:
        yield client


def climb(client: convscope.Client, **fields: Any) -> convscope.Run:
    """A run of two seconds, made for itself."""
    asked = {"steps": 100, "pause": 0.02, "frames": 10, "seed": 3, "cache": "bypass", **fields}
    return client.visualize("steady.climb", **asked)


def at(run: convscope.Run, step: int) -> convscope.Run:
    next(event for event in run if event.progress is not None and event.progress.step >= step)
    return run


def digests(result: convscope.Result) -> dict[str, str]:
    return {artifact.name: artifact.digest for artifact in result.artifacts}


def kinds(client: convscope.Client, run: convscope.Run) -> list[str]:
    left_out = {"progress", "preview", "result", "checkpointed", "note"}
    return [event.kind for event in client.attach(run.id) if event.kind not in left_out]


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def straight(server: ServerProcess) -> dict[str, str]:
    """What a climb comes to that nobody touches."""
    with convscope.connect(server.address) as client:
        return digests(climb(client).result())


def test_a_paused_run_goes_on_to_the_same_bits(client: convscope.Client, straight: dict[str, str]) -> None:
    run = at(climb(client, detach=True), 20)
    run.pause()
    assert next(event for event in run if event.kind == "paused")
    assert run.state == run.refresh().state == "paused"
    assert run.id in {info.id for info in client.runs(state="paused")}
    assert client.devices()[0].runs == ()
    run.resume()
    again = next(event for event in run if event.kind == "started")
    assert again.step >= 20
    result = run.result()
    assert digests(result) == straight
    assert [frame.step for frame in result.previews] == list(range(10, 101, 10))
    assert kinds(client, run) == ["accepted", "queued", "started", "paused", "queued", "started", "succeeded"]


def test_pausing_and_resuming_twice_is_as_once_and_an_ended_run_stays(client: convscope.Client) -> None:
    run = at(climb(client, steps=20, detach=True), 3)
    for _ in range(2):
        run.pause()
    eventually(lambda: run.refresh().state == "paused")
    for _ in range(2):
        run.resume()
    run.result()
    assert kinds(client, run).count("paused") == 1
    assert client.pause(run.id).state == client.resume(run.id).state == "succeeded"


def test_a_steered_run_is_repeated_from_its_record(client: convscope.Client, straight: dict[str, str]) -> None:
    run = at(climb(client), 10)
    run.update(rise=2.5)
    at(run, 40).update(rise=0.5, pause=0.01)
    result = run.result()
    updates = run.refresh().updates
    assert [update.params for update in updates] == [{"rise": 2.5}, {"rise": 0.5, "pause": 0.01}]
    assert 10 <= updates[0].step < 40 <= updates[1].step < 100
    assert [(e.step, e.params) for e in client.attach(run.id) if e.kind == "updated"] == list(updates)
    assert digests(result) != straight
    assert result.report.provenance["updates"] == [{"step": step, "params": params} for step, params in updates]
    again = climb(client, updates=updates)
    assert digests(again.result()) == digests(result)
    assert again.refresh().updates == updates


def test_a_dream_that_was_steered_is_dreamt_again(client: convscope.Client) -> None:
    asked: dict[str, Any] = {"image": photo(), "layer": "blocks.2", "size": 96, "octaves": 1, "steps": 40, "seed": 5}
    run = at(client.visualize("deepdream", **asked), 3)
    run.update(step_size=0.1)
    result = run.result()
    again = client.visualize("deepdream", **asked, updates=run.refresh().updates, cache="bypass")
    assert digests(again.result()) == digests(result)
    left_alone = client.visualize("deepdream", **asked).result()
    assert digests(left_alone)["deepdream"] != digests(result)["deepdream"]


def test_what_a_paused_run_is_told_holds_where_it_goes_on(client: convscope.Client) -> None:
    run = at(climb(client, detach=True), 10)
    run.pause()
    eventually(lambda: run.refresh().state == "paused")
    run.update(rise=2.0)
    [update] = run.refresh().updates
    run.resume()
    assert digests(run.result()) == digests(climb(client, updates=[update]).result())


def test_a_run_that_waits_is_paused_and_changed_in_the_queue(client: convscope.Client) -> None:
    busy = [at(climb(client, steps=5000, detach=True), 1) for _ in range(2)]
    run = climb(client, detach=True)
    assert client.pause(run.id).state == "paused"
    assert client.update(run.id, rise=2.0).updates == ((0, {"rise": 2.0}),)
    for other in busy:
        other.cancel()
    assert client.run(run.id).state == "paused"
    run.resume()
    assert digests(run.result()) == digests(climb(client, rise=2.0).result())


def test_what_cannot_be_is_refused_and_the_run_goes_on(client: convscope.Client, straight: dict[str, str]) -> None:
    run = at(climb(client), 5)
    for params, reason in (({"rise": -1}, "PARAMS_INVALID"), ({"steps": 9}, "PARAM_NOT_STEERING")):
        with pytest.raises(convscope.InvalidArgument) as refused:
            run.update(**params)
        assert (refused.value.reason, refused.value.violations[0].field) == (reason, f"params.{min(params)}")
    assert digests(run.result()) == straight
    assert run.refresh().updates == ()
    with pytest.raises(convscope.FailedPrecondition) as refused_late:
        run.update(rise=2)
    assert refused_late.value.reason == "RUN_ENDED"
    fixed = at(client.visualize("steady.reel", steps=1000, pause=0.02, cache="bypass"), 1)
    with pytest.raises(convscope.FailedPrecondition) as refused_for_ever:
        fixed.pause()
    assert refused_for_ever.value.reason == "RUN_NOT_RESUMABLE"
    fixed.cancel()


def test_a_run_that_others_share_stays_as_it_is(client: convscope.Client) -> None:
    runs = [at(climb(client, cache="default", seed=8), 1) for _ in range(2)]
    for run in runs:
        for steer in (run.pause, lambda run=run: run.update(rise=2)):
            with pytest.raises(convscope.FailedPrecondition) as refused:
                steer()
            assert refused.value.reason == "RUN_SHARED"
    assert digests(runs[0].result()) == digests(runs[1].result())


def test_a_run_that_was_changed_stands_for_no_other(client: convscope.Client) -> None:
    run = at(climb(client, cache="default", seed=9), 5)
    run.update(rise=2.0)
    other = climb(client, cache="default", seed=9)
    assert digests(other.result()) != digests(run.result())
    with pytest.raises(convscope.FailedPrecondition) as refused:
        climb(client, cache="only", seed=9, updates=run.refresh().updates).result()
    assert refused.value.reason == "NOT_CACHED"


def test_a_deadline_goes_on_while_a_run_is_paused(client: convscope.Client) -> None:
    run = at(climb(client, steps=5000, deadline=2.0), 3)
    run.pause()
    with pytest.raises(convscope.DeadlineExceeded):
        run.result(timeout=30)
    assert run.state == "failed"


def test_nobody_need_watch_a_paused_run(server: ServerProcess, straight: dict[str, str]) -> None:
    with convscope.connect(server.address) as first:
        run = at(climb(first), 5)
        run.pause()
        next(event for event in run if event.kind == "paused")
        run.close()
    time.sleep(3 * GRACE)
    with convscope.connect(server.address) as second:
        assert second.run(run.id).state == "paused"
        watched = second.attach(run.id)
        watched.resume()
        assert digests(watched.result()) == straight


def test_frames_do_not_jump_back_after_a_worker_is_lost(client: convscope.Client, straight: dict[str, str]) -> None:
    run = at(climb(client, frames=1, previews={"min_interval": 0}), 40)
    os.kill(client.devices()[0].pid, signal.SIGKILL)
    result = run.result(timeout=120)
    assert digests(result) == straight
    steps = [frame.step for frame in result.previews]
    assert steps == sorted(set(steps))
    began = [event.step for event in client.attach(run.id) if event.kind == "started"]
    assert len(began) == 2
    assert 0 < began[1] <= 45


def test_a_run_is_steered_from_an_event_loop(server: ServerProcess, straight: dict[str, str]) -> None:
    async def use() -> None:
        async with convscope.aio.connect(server.address) as client:
            run = await client.visualize("steady.climb", steps=100, pause=0.02, frames=10, seed=3, cache="bypass")
            async for event in run:
                if event.progress is not None and event.progress.step == 10:
                    await run.pause()
                elif event.kind == "paused":
                    await run.update(rise=2.0)
                    await run.resume()
            again = await client.visualize(
                "steady.climb", steps=100, frames=10, seed=3, updates=(await run.refresh()).updates
            )
            made = digests(await run.result())
            assert digests(await again.result()) == made != straight

    asyncio.run(use())


def test_a_run_inside_this_process_is_steered_alike() -> None:
    with convscope.embedded(plugin_files=[STEADY], devices=["cpu"]) as client:
        run = at(climb(client), 10)
        run.pause()
        next(event for event in run if event.kind == "paused")
        run.update(rise=2.0)
        run.resume()
        assert digests(run.result()) == digests(climb(client, updates=run.refresh().updates).result())


def test_the_command_pauses_changes_and_resumes(
    server: ServerProcess, client: convscope.Client, straight: dict[str, str]
) -> None:
    def call(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "convscope", *words, "--server", server.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    params = [word for pair in ("steps=100", "pause=0.1", "frames=10") for word in ("-p", pair)]
    run_id = call("run", "steady.climb", *params, "--seed", "3", "--cache", "bypass", "--detach").strip()
    at(client.attach(run_id), 3)
    assert call("pause", run_id).startswith(run_id)
    eventually(lambda: client.run(run_id).state == "paused")
    assert run_id in call("runs", "--state", "paused")
    assert "rise=2 behind step" in call("update", run_id, "-p", "rise=2", "-p", "pause=0")
    assert "cannot change on the way" in call("update", run_id, "-p", "steps=3", code=2)
    assert call("resume", run_id) == f"{run_id} goes on\n"
    found = json.loads(call("watch", run_id, "--json"))
    [[step, changed]] = json.loads(call("runs", "--json", "--state", "succeeded", "--limit", "1"))[0]["updates"]
    assert changed == {"rise": 2, "pause": 0}
    again = call(
        "run", "steady.climb", *params, "--seed", "3", "--json", "--out", str(server.data / "again"),
        "--update", f"{step}:rise=2", "--update", f"{step}:pause=0",
    )  # fmt: skip
    assert json.loads(again)["report"]["provenance"]["updates"] == found["report"]["provenance"]["updates"]
    assert digests(client.attach(json.loads(again)["run"]).result()) == digests(client.attach(run_id).result())
