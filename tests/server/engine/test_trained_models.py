"""A catalog that learns of models while it is served, the same in every engine."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from convscope_server.engine.engine import Engine
from convscope_server.engine.inprocess import InProcessEngine
from convscope_server.engine.local import LocalEngine
from convscope_server.engine.messages import RunSpec
from convscope_server.engine.options import WorkerOptions
from convscope_server.errors import RequestError
from convscope_server.runs.events import Failed, Progress, Succeeded
from support.listening import Listening
from support.training_plugin import TRAINING


@pytest.fixture(params=[LocalEngine, InProcessEngine])
async def started(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Engine, Listening, Path]]:
    models = tmp_path / "models"
    options = WorkerOptions(devices=("cpu",), plugin_files=(TRAINING,), warm_models=(), models_dir=str(models))
    engine: Engine = request.param(options)
    heard = Listening()
    await engine.start(heard)
    yield engine, heard, models
    await engine.close()


def spec(run: str, model: str = "blank", technique: str = "school.train", **params: object) -> RunSpec:
    return RunSpec(run, technique, model, params)


async def test_an_engine_learns_of_models(started: tuple[Engine, Listening, Path]) -> None:
    """One test, because starting torch anew for each sentence of it would take minutes."""
    engine, heard, models = started
    assert "mine" not in engine.catalog.models

    # A run makes a model; when it has ended, the catalog has it and runs can use it.
    assert engine.try_start(spec("a", name="mine"))
    await heard.until(lambda: heard.ended("a"))
    assert isinstance(heard.logs["a"][-1], Succeeded)
    assert engine.catalog.models["mine"].description == "how bright it is"
    assert (await engine.describe_model("mine")).classes == ("dark", "bright")
    assert engine.try_start(spec("b", model="mine", name="mine"))
    await heard.until(lambda: heard.ended("b"))
    assert isinstance(heard.logs["b"][-1], Failed)
    assert heard.logs["b"][-1].error.reason == "MODEL_NAME_TAKEN"

    # A folder that comes or goes by hand is seen when models are listed again.
    shutil.copytree(models / "mine", models / "copied")
    await engine.refresh_models()
    assert {"mine", "copied", "blank", "efficientnet_lite0"} <= engine.catalog.models.keys()
    shutil.rmtree(models / "mine")
    await engine.refresh_models()
    assert "mine" not in engine.catalog.models
    with pytest.raises(RequestError, match="no model 'mine'"):
        await engine.describe_model("mine")


async def test_a_killed_worker_leaves_no_half_model_and_its_run_goes_on(tmp_path: Path) -> None:
    options = WorkerOptions(devices=("cpu",), plugin_files=(TRAINING,), warm_models=(), models_dir=str(tmp_path))
    engine, heard = LocalEngine(options), Listening()
    await engine.start(heard)
    try:
        run = spec("a", name="mine", steps=100_000, checkpoint_every=1)
        assert engine.try_start(run)
        await heard.until(lambda: any(isinstance(e, Progress) and e.step >= 20 for e in heard.logs["a"]))
        os.kill(engine.devices()[0].pid, signal.SIGKILL)
        await heard.until(lambda: heard.ended("a"))
        assert not (tmp_path / "mine" / "model.toml").exists()
        heard.lost.clear()
        heard.logs.clear()
        await heard.until(lambda: engine.ready)
        await engine.refresh_models()
        assert "mine" not in engine.catalog.models
        assert engine.try_start(RunSpec("a", run.technique, run.model, {**run.params, "steps": 1}, attempt=2))
        await heard.until(lambda: heard.ended("a"))
        assert isinstance(heard.logs["a"][-1], Succeeded)  # it was beyond its one step already
        assert "mine" in engine.catalog.models
    finally:
        await engine.close()
