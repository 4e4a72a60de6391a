"""What every engine promises, asked of each: workers in processes, and a worker in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from convscope_server.engine.engine import Engine
from convscope_server.engine.inprocess import InProcessEngine
from convscope_server.engine.local import LocalEngine
from convscope_server.engine.messages import RunSpec
from convscope_server.engine.options import WorkerOptions
from convscope_server.errors import RequestError
from convscope_server.runs.events import Cancelled, Checkpointed, Failed, Progress, Started, Succeeded, Updated
from support.hostile_plugin import HOSTILE
from support.listening import Listening

WALK = str(Path(__file__).parents[2] / "support" / "walking.py")
OPTIONS = WorkerOptions(devices=("cpu",), plugin_files=(HOSTILE, WALK), warm_models=(), max_live_runs=2)


@pytest.fixture(params=[LocalEngine, InProcessEngine])
async def started(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Engine, Listening]]:
    engine: Engine = request.param(OPTIONS)
    heard = Listening()
    await engine.start(heard)
    yield engine, heard
    await engine.close()


def spec(run: str, technique: str = "count", **params: object) -> RunSpec:
    return RunSpec(run, f"hostile.{technique}", "tiny", params)


async def test_an_engine_keeps_the_contract(started: tuple[Engine, Listening]) -> None:
    """One test, because starting torch anew for each sentence of it would take minutes."""
    engine, heard = started

    # It offers what its workers found, and is ready.
    assert engine.ready
    assert {"saliency", "deepdream", "hostile.count"} <= engine.catalog.techniques.keys()
    assert {"efficientnet_lite0", "tiny"} <= engine.catalog.models.keys()
    assert any("hostile_plugin" in plugin.name for plugin in engine.catalog.plugins)

    # A run has a beginning, its steps in order, and one end.
    assert engine.try_start(spec("a", steps=3))
    await heard.until(lambda: heard.ended("a"))
    assert isinstance(heard.logs["a"][0], Started)
    assert [e.step for e in heard.logs["a"] if isinstance(e, Progress)] == [1, 2, 3]
    assert isinstance(heard.logs["a"][-1], Succeeded)

    # Two live runs fill it; a cancelled one makes room, and says why it ended.
    assert engine.try_start(spec("b", steps=100_000, pause=0.01))
    assert engine.try_start(spec("c", steps=100_000, pause=0.01))
    assert not engine.try_start(spec("d"))
    assert set(engine.devices()[0].runs) == {"b", "c"}
    await heard.until(lambda: any(isinstance(e, Progress) for e in heard.logs["c"]))
    assert engine.cancel("b", "disconnected")
    await heard.until(lambda: heard.ended("b"))
    assert heard.logs["b"][-1] == Cancelled("disconnected")
    assert not engine.cancel("b", "requested")

    # A model in use stays; one without users goes; describing loads.
    with pytest.raises(RequestError, match="tiny"):
        await engine.unload_model("tiny")
    engine.cancel("c", "requested")
    await heard.until(lambda: heard.ended("c"))
    assert await engine.unload_model("tiny") == ["cpu"]
    assert await engine.unload_model("tiny") == []
    detail = await engine.describe_model("tiny")
    assert [layer.kind for layer in detail.layers][:2] == ["Conv2d", "ReLU"]
    assert (await engine.load_model("tiny"))[1].size_bytes == detail.size_bytes

    await _puts_down_and_takes_up(engine, heard)

    # What it has not got is refused by name, and a technique's bug ends its own run alone.
    with pytest.raises(RequestError, match="did you mean 'tiny'"):
        await engine.describe_model("tinny")
    assert engine.try_start(spec("e", technique="greedy"))
    await heard.until(lambda: heard.ended("e"))
    assert isinstance(heard.logs["e"][-1], Failed)
    assert heard.logs["e"][-1].error.reason == "OUT_OF_MEMORY"
    assert engine.try_start(spec("f"))
    await heard.until(lambda: heard.ended("f"))
    assert isinstance(heard.logs["f"][-1], Succeeded)
    assert not heard.lost


async def _puts_down_and_takes_up(engine: Engine, heard: Listening) -> None:
    """A run that is put down is off the engine, and goes on from its checkpoint; a change holds, or is refused."""
    assert engine.try_start(RunSpec("w", "test.walk", "tiny", {"steps": 1000, "pause": 0.01}))
    await heard.until(lambda: any(isinstance(e, Progress) for e in heard.logs["w"]))
    with pytest.raises(RequestError, match="no road 'up'"):
        await engine.steer("w", {"road": "up"})
    await engine.steer("w", {"step_size": 2.0})
    assert any(isinstance(e, Updated) and e.params == {"step_size": 2.0} for e in heard.logs["w"])
    assert engine.suspend("w")
    await heard.until(lambda: "w" in heard.suspended)
    assert not engine.suspend("w")
    with pytest.raises(RequestError, match="left its device"):
        await engine.steer("w", {"step_size": 3.0})
    (kept,) = (e for e in heard.logs["w"] if isinstance(e, Checkpointed))
    assert engine.try_start(RunSpec("w2", "test.walk", "tiny", {"steps": 20}, checkpoint=kept.key))
    await heard.until(lambda: heard.ended("w2"))
    assert heard.logs["w2"][0] == Started("cpu", 1, kept.step)
    with pytest.raises(RequestError, match="step_size"):
        await engine.check_params("test.walk", {"step_size": -1.0})
    await engine.check_params("test.walk", {"step_size": 1.0})
