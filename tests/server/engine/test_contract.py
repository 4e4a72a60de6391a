"""What every engine promises, asked of each: workers in processes, and a worker in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from convscope_server.engine.engine import Engine
from convscope_server.engine.inprocess import InProcessEngine
from convscope_server.engine.local import LocalEngine
from convscope_server.engine.messages import RunSpec
from convscope_server.engine.options import WorkerOptions
from convscope_server.errors import RequestError
from convscope_server.runs.events import Cancelled, Failed, Progress, Started, Succeeded
from support.hostile_plugin import HOSTILE
from support.listening import Listening

OPTIONS = WorkerOptions(devices=("cpu",), plugin_files=(HOSTILE,), warm_models=(), max_live_runs=2)


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
