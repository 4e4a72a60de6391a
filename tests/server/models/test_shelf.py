"""Trained models on disk: whole or not at all, and each under a name of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convscope_sdk.errors import TechniqueError, UnknownName
from convscope_sdk.events import Checkpoint, TrainedModel
from convscope_sdk.models import Architecture
from convscope_server.engine.messages import ModelInfo
from convscope_server.models.cache import ModelCache
from convscope_server.models.errors import ModelBroken
from convscope_server.models.registry import ModelRegistry
from convscope_server.models.shelf import ModelNameTaken, Shelf
from convscope_server.models.sources.folder import FolderSource


def build(width: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


ARCHITECTURES = {"tiny": Architecture("tiny", build)}


def shelf(directory: Path, *listed: ModelInfo) -> Shelf:
    return Shelf(directory, architectures=ARCHITECTURES, listed=lambda: list(listed))


def registry(directory: Path) -> ModelRegistry:
    return ModelRegistry([FolderSource(directory, architectures=ARCHITECTURES)])


def model(name: str = "mine", fill: float = 1.0, width: int = 3, **fields: Any) -> TrainedModel:
    state = {key: torch.full_like(value, fill) for key, value in build(width).state_dict().items()}
    return TrainedModel(name, state, "convscope:tiny", {"width": width}, input_size=16, **fields)


def put(where: Shelf, made: TrainedModel, run: str = "run-1", **options: Any) -> dict[str, Any]:
    claim = where.claim(made.name, run=run, **options)
    try:
        return where.put(claim, made, {"run": run})
    finally:
        claim.release()


def test_what_was_put_there_is_a_model_of_the_catalog(tmp_path: Path) -> None:
    made = model(
        labels=("a", "b", 'c"\\'), mean=(0.1, 0.2, 0.3), std=(1, 1, 1), description="ours", facts={"loss": 0.5}
    )
    row = put(shelf(tmp_path / "models"), made)
    found = registry(tmp_path / "models")
    assert [(e.name, e.description, e.source) for e in found.entries()] == [("mine", "ours", "folder")]
    spec = found.spec("mine")
    assert (spec.input_size, spec.mean, spec.std, spec.classes) == (16, (0.1, 0.2, 0.3), (1, 1, 1), ("a", "b", 'c"\\'))
    assert all(torch.equal(value, made.state_dict[key]) for key, value in spec.build().state_dict().items())
    assert row["name"] == "mine"
    assert row["parameters"] == 12


def test_half_precision_weights_are_stored_as_such_and_used_in_full(tmp_path: Path) -> None:
    made = model()
    halves = {key: value.half() for key, value in made.state_dict.items()}
    row = put(shelf(tmp_path), TrainedModel("half", halves, "convscope:tiny", {"width": 3}, input_size=16))
    assert row["size_bytes"] < put(shelf(tmp_path), made)["size_bytes"]
    assert {value.dtype for value in registry(tmp_path).spec("half").build().state_dict().values()} == {torch.float32}


def test_a_name_that_is_taken_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    put(shelf(tmp_path), model(fill=1))
    with pytest.raises(ModelNameTaken, match="is there already; choose another name"):
        shelf(tmp_path).claim("mine", run="run-2")
    with pytest.raises(ModelNameTaken, match="is a model of source 'builtin'"):
        shelf(tmp_path, ModelInfo("lite", "classifier", "builtin")).claim("lite", run="run-2", replace=True)
    assert registry(tmp_path).spec("mine").build().state_dict()["0.bias"].unique().tolist() == [1]


def test_two_runs_cannot_have_one_name_at_once(tmp_path: Path) -> None:
    claim = shelf(tmp_path).claim("mine", run="run-1")
    with pytest.raises(ModelNameTaken, match="being trained by another run now"):
        shelf(tmp_path).claim("mine", run="run-2", replace=True)
    claim.release()
    shelf(tmp_path).claim("mine", run="run-2").release()
    assert registry(tmp_path).entries() == []


def test_a_replaced_model_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    put(shelf(tmp_path), model(fill=1, labels=("a", "b", "c")))
    (tmp_path / "mine" / "notes.md").write_text("not ours to remove")
    put(shelf(tmp_path), model(fill=2), run="run-2", replace=True)
    assert sorted(f.suffix for f in (tmp_path / "mine").iterdir()) == [".md", ".safetensors", ".toml"]
    assert registry(tmp_path).spec("mine").build().state_dict()["0.bias"].unique().tolist() == [2]


def test_a_loaded_model_that_was_replaced_or_removed_is_not_served_on(tmp_path: Path) -> None:
    put(shelf(tmp_path), model(fill=1))
    cache = ModelCache(registry(tmp_path), "cpu", 2**20)
    before = cache.acquire("mine")
    put(shelf(tmp_path), model(fill=2), run="run-2", replace=True)
    assert cache.acquire("mine") is before  # its runs go on with what they began with
    cache.release("mine")
    cache.release("mine")
    after = cache.acquire("mine")
    assert after.digest != before.digest
    cache.release("mine")
    (tmp_path / "mine" / "model.toml").unlink()
    with pytest.raises(UnknownName):
        cache.acquire("mine")
    assert cache.loaded() == ()


def test_a_process_killed_before_the_last_rename_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.name == "model.toml":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        put(shelf(tmp_path), model(fill=1))
    monkeypatch.undo()
    assert registry(tmp_path).entries() == []
    put(shelf(tmp_path), model(fill=2), run="run-2")  # the name is still to be had, and the scraps go
    assert len(list((tmp_path / "mine").iterdir())) == 2


def test_weights_that_do_not_fit_are_never_offered(tmp_path: Path) -> None:
    wrong = TrainedModel("mine", model(width=2).state_dict, "convscope:tiny", {"width": 3})
    with pytest.raises(ModelBroken, match="of another shape"):
        put(shelf(tmp_path), wrong)
    with pytest.raises(UnknownName, match="did you mean 'tiny'"):
        put(shelf(tmp_path), TrainedModel("mine", model().state_dict, "convscope:tinny"))
    with pytest.raises(ModelBroken, match=r"no model\.toml can"):
        put(shelf(tmp_path), TrainedModel("mine", model().state_dict, "convscope:tiny", {"bad key": 1}))
    assert registry(tmp_path).entries() == []


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    where = shelf(tmp_path)
    claim = where.claim("mine", run="run-1")
    for step in (1, 2):
        where.put_checkpoint(claim, Checkpoint("mine", step, {"w": torch.arange(3) + step}, {"rng": [2**80, None]}))
    claim.release()
    found = where.checkpoint("mine")
    assert (found.step, found.facts, found.tensors["w"].tolist()) == (2, {"rng": [2**80, None]}, [2, 3, 4])
    assert registry(tmp_path).entries() == []


def test_an_unfinished_training_is_its_owners(tmp_path: Path) -> None:
    where = shelf(tmp_path)
    claim = where.claim("mine", run="run-1")
    assert where.own_checkpoint(claim) is None
    where.put_checkpoint(claim, Checkpoint("mine", 1, {"w": torch.zeros(1)}))
    claim.release()
    with pytest.raises(ModelNameTaken, match="unfinished training; go on with it by resume"):
        where.claim("mine", run="run-2")
    again = where.claim("mine", run="run-1")  # the same run, whose worker died
    own = where.own_checkpoint(again)
    again.release()
    assert own is not None
    assert own.step == 1


def test_what_cannot_be_resumed_is_told(tmp_path: Path) -> None:
    where = shelf(tmp_path)
    with pytest.raises(UnknownName, match="only a training leaves one"):
        where.checkpoint("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "checkpoint.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelBroken, match="cannot be read"):
        where.checkpoint("mine")


def test_a_directory_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TechniqueError, match="cannot be written to"):
        shelf(tmp_path / "file").claim("mine", run="run-1")
    with pytest.raises(TechniqueError, match="set models_dir"):
        Shelf(None, architectures={}).claim("mine", run="run-1")


@pytest.mark.skipif(os.name == "nt", reason="paths of another kind")
def test_a_name_cannot_lead_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="a model's name is letters"):
        shelf(tmp_path / "models").claim("../mine", run="run-1")
