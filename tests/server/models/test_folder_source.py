"""Models in a directory: what is accepted, and every way in which a folder may lie."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from convscope_sdk.errors import TechniqueError
from convscope_sdk.models import ModelSource, ModelSpec
from convscope_server.models.errors import ModelBroken
from convscope_server.models.sources import timm
from convscope_server.models.sources.folder import FolderSource

LABELS = ("cat", "dog", "teapot")
BASIC = 'architecture = "timm:resnet10t"\nweights = "weights.pth"\nlabels = "labels.txt"\n'
CODE = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn

@dataclass
class Width:
    channels: int = 2

def build():
    return nn.Sequential(nn.Conv2d(3, Width().channels, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def number():
    return 7

def fails():
    raise KeyError("no such thing")
"""


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A state dict of three classes that no seed gives."""
    trained = timm.untrained("resnet10t", len(LABELS)).state_dict()
    return {k: v + 1 if v.is_floating_point() else v for k, v in trained.items()}


@pytest.fixture
def folder(tmp_path: Path, state: dict[str, torch.Tensor]) -> Path:
    """MODELS_DIR/mine, a good model."""
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(BASIC)
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    torch.save(state, folder / "weights.pth")
    return folder


def spec_in(folder: Path, *, allow_code: bool = False) -> ModelSpec:
    spec = FolderSource(folder.parent, allow_code=allow_code).spec(folder.name)
    assert spec is not None
    return spec


def refusal(folder: Path, *, allow_code: bool = False) -> TechniqueError:
    """What building the model is refused with."""
    with pytest.raises(TechniqueError) as caught:
        spec_in(folder, allow_code=allow_code).build()
    return caught.value


def same(module: nn.Module, state: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(module.state_dict()[k], v) for k, v in state.items())


def test_a_good_folder_gives_its_weights_labels_and_the_architecture_s_preprocessing(
    folder: Path, state: dict[str, torch.Tensor]
) -> None:
    source = FolderSource(folder.parent)
    assert isinstance(source, ModelSource)
    [entry] = source.entries()
    assert (entry.name, entry.kind, entry.description) == ("mine", "classifier", "timm:resnet10t with weights.pth")
    spec = spec_in(folder)
    assert (spec.name, spec.source, spec.classes, spec.random_weights) == ("mine", "folder", LABELS, False)
    assert (spec.input_size, spec.crop_fraction, spec.interpolation) == (176, 0.875, "bicubic")
    assert same(spec.build(), state)


def test_what_model_toml_says_wins_over_the_architecture(folder: Path) -> None:
    (folder / "model.toml").write_text(
        BASIC
        + "input_size = 64\nmean = [0, 0.5, 1.0]\nstd = [1, 2, 3]\ninterpolation = 'lanczos'\ncrop_fraction = 1.0\n"
        + "kind = 'stylizer'\ndescription = 'my own'"
    )
    spec = spec_in(folder)
    assert (spec.input_size, spec.mean, spec.std) == (64, (0.0, 0.5, 1.0), (1.0, 2.0, 3.0))
    assert (spec.interpolation, spec.crop_fraction, spec.kind) == ("lanczos", 1.0, "stylizer")
    assert spec.description == "my own"


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_wrapped_and_parallel_state_dicts_are_accepted(folder: Path, state: dict[str, torch.Tensor], wrap: Any) -> None:
    torch.save(wrap({f"module.{k}": v for k, v in state.items()}), folder / "weights.pth")
    assert same(spec_in(folder).build(), state)


def test_safetensors_are_accepted(folder: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, folder / "w.safetensors")
    (folder / "model.toml").write_text(BASIC.replace("weights.pth", "w.safetensors"))
    assert same(spec_in(folder).build(), state)


def test_a_torchvision_architecture_takes_as_many_classes_as_there_are_labels(folder: Path) -> None:
    from convscope_server.models.sources import torchvision

    trained = torchvision.untrained("squeezenet1_1", 3).state_dict()
    torch.save(trained, folder / "weights.pth")
    (folder / "model.toml").write_text(BASIC.replace("timm:resnet10t", "torchvision:squeezenet1_1"))
    assert same(spec_in(folder).build(), trained)


def test_a_file_from_before_batch_counters_is_accepted(folder: Path, state: dict[str, torch.Tensor]) -> None:
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, folder / "weights.pth")
    assert same(spec_in(folder).build(), old)


# What does not fit


def test_state_dict_names_that_do_not_fit_are_shown(folder: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save({("head." if k.startswith("fc") else "") + k: v for k, v in state.items()}, folder / "weights.pth")
    error = refusal(folder)
    assert error.reason == "WEIGHTS_MISMATCH"
    assert "2 missing: fc.weight, fc.bias; 2 not known: head.fc.weight, head.fc.bias" in error.message


def test_another_number_of_classes_is_shown_with_the_shapes(folder: Path) -> None:
    (folder / "labels.txt").write_text("cat\ndog\n")
    assert "fc.weight is (3, 512), not (2, 512)" in refusal(folder).message


def test_a_cut_file_and_one_that_is_something_else_are_refused(folder: Path) -> None:
    whole = (folder / "weights.pth").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello, world", b"PK\x03\x04nothing"):
        (folder / "weights.pth").write_bytes(content)
        error = refusal(folder)
        assert error.reason == "MODEL_BROKEN", content[:8]
        assert "model 'mine': weights.pth" in error.message
    (folder / "w.safetensors").write_bytes(b"\xff" * 100)
    (folder / "model.toml").write_text(BASIC.replace("weights.pth", "w.safetensors"))
    assert "cannot be read as safetensors" in refusal(folder).message


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {"fc": "text"}}, {1: torch.ones(1)}])
def test_a_file_without_a_state_dict_is_refused(folder: Path, content: Any) -> None:
    torch.save(content, folder / "weights.pth")
    assert "save model.state_dict()" in refusal(folder).message


# What would run code


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("save", [torch.save, lambda evil, path: path.write_bytes(pickle.dumps(evil))])
def test_a_malicious_pickle_is_refused_and_not_run(folder: Path, tmp_path: Path, save: Any) -> None:
    witness = tmp_path / "it_ran"
    evil = {"fc.weight": Evil(witness)}
    assert pickle.loads(pickle.dumps(Evil(tmp_path / "proof"))) == 0
    assert (tmp_path / "proof").exists()  # the pickle does what it is meant to do
    save(evil, folder / "weights.pth")
    error = refusal(folder)
    assert error.reason == "PICKLE_REFUSED"
    assert "would run code" in error.message
    assert not witness.exists()


def test_a_whole_pickled_module_is_refused(folder: Path) -> None:
    torch.save(nn.Linear(1, 1), folder / "weights.pth")
    error = refusal(folder)
    assert error.reason == "PICKLE_REFUSED"
    assert "it asks for torch.nn.modules.linear.Linear" in error.message


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pickle", "weights.pt", "weights"])
def test_other_formats_are_refused_by_name(folder: Path, name: str) -> None:
    (folder / "weights.pth").rename(folder / name)
    (folder / "model.toml").write_text(BASIC.replace("weights.pth", name))
    assert "neither .safetensors nor .pth" in refusal(folder).message


@pytest.mark.parametrize("architecture", ["net:build", "os:getcwd"])
def test_code_is_not_run_unless_it_is_allowed(folder: Path, architecture: str) -> None:
    (folder / "net.py").write_text("raise SystemExit('it ran')")
    (folder / "model.toml").write_text(f'architecture = "{architecture}"')
    assert refusal(folder).reason == "CODE_NOT_ALLOWED"
    [entry] = FolderSource(folder.parent).entries()
    assert entry.description.startswith("broken: architecture")


def test_code_beside_model_toml_is_run_where_it_is_allowed(folder: Path) -> None:
    (folder / "net.py").write_text(CODE)
    (folder / "model.toml").write_text('architecture = "net:build"')
    before = torch.get_rng_state()
    first, second = spec_in(folder, allow_code=True).build(), spec_in(folder, allow_code=True).build()
    assert same(first, second.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    assert first(torch.zeros(1, 3, 4, 4)).shape == (1, 2)
    assert spec_in(folder, allow_code=True).classes == ()


def test_an_installed_callable_is_run_where_it_is_allowed(folder: Path) -> None:
    (folder / "model.toml").write_text('architecture = "torchvision.models:squeezenet1_1"')
    assert isinstance(spec_in(folder, allow_code=True).build(), nn.Module)


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        ("net:number", "gave int, not a torch.nn.Module"),
        ("net:fails", "failed with KeyError: 'no such thing'"),
        ("net:absent", "failed with AttributeError"),
        ("no_such_package:build", "failed with ModuleNotFoundError"),
    ],
)
def test_broken_code_is_a_broken_model(folder: Path, architecture: str, text: str) -> None:
    (folder / "net.py").write_text(CODE)
    (folder / "model.toml").write_text(f'architecture = "{architecture}"')
    assert text in refusal(folder, allow_code=True).message


# What would leave the folder


@pytest.mark.parametrize("key", ["weights", "labels"])
@pytest.mark.parametrize("way", ["parent", "absolute", "link", "linked_folder"])
def test_no_path_leaves_the_model_s_folder(folder: Path, tmp_path: Path, key: str, way: str) -> None:
    name = {"weights": "weights.pth", "labels": "labels.txt"}[key]
    outside = tmp_path / name
    (folder / name).rename(outside)
    if way == "link":
        (folder / name).symlink_to(outside)
    if way == "linked_folder":
        (folder / "sub").symlink_to(tmp_path)
    path = {"parent": f"../../{name}", "absolute": str(outside), "link": name, "linked_folder": f"sub/{name}"}[way]
    (folder / "model.toml").write_text(BASIC.replace(name, path))
    assert refusal(folder).reason == "PATH_REFUSED"


def test_an_absolute_path_is_refused_even_into_the_folder(folder: Path) -> None:
    (folder / "model.toml").write_text(BASIC.replace("labels.txt", str(folder / "labels.txt")))
    assert refusal(folder).reason == "PATH_REFUSED"


def test_model_toml_itself_may_not_be_elsewhere(folder: Path, tmp_path: Path) -> None:
    (folder / "model.toml").rename(tmp_path / "elsewhere.toml")
    (folder / "model.toml").symlink_to(tmp_path / "elsewhere.toml")
    assert refusal(folder).reason == "PATH_REFUSED"


def test_links_inside_the_folder_and_a_linked_folder_are_fine(folder: Path, state: dict[str, torch.Tensor]) -> None:
    (folder / "..data").mkdir()
    for name in ("model.toml", "weights.pth"):
        (folder / name).rename(folder / "..data" / name)
        (folder / name).symlink_to(Path("..data", name))
    (folder.parent / "alias").symlink_to(folder)
    assert same(spec_in(folder.parent / "alias").build(), state)


@pytest.mark.parametrize("name", ["..", ".", "", "../models/mine", "mine/", "mine/../mine", "/etc", "mine\0", "a b"])
def test_a_name_that_is_a_path_is_not_a_model(folder: Path, name: str) -> None:
    assert FolderSource(folder.parent).spec(name) is None


@given(name=st.text(max_size=20))
def test_no_name_raises_or_finds_what_is_not_listed(name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "model.toml").write_text(BASIC)
        models = Path(directory, "models")
        models.mkdir()
        assert FolderSource(models).spec(name) is None


# What model.toml may say


@pytest.mark.parametrize(
    ("line", "field", "text"),
    [
        ("sdt = [1, 1, 1]", "model.toml.sdt", "no such key; there are architecture, arguments"),
        ("input_size = 3", "model.toml.input_size", "greater than or equal to 16, not 3"),
        ("std = [1, 1, 0]", "model.toml.std.2", "greater than 0"),
        ("mean = [nan, 0, 0]", "model.toml.mean.0", "finite"),
        ("mean = [0, 0]", "model.toml.mean.2", "required"),
        ("crop_fraction = 1.5", "model.toml.crop_fraction", "less than or equal to 1"),
        ("interpolation = 'box'", "model.toml.interpolation", "'bilinear'"),
        ("kind = 'detector'", "model.toml.kind", "'classifier'"),
    ],
)
def test_a_wrong_value_is_reported_with_its_path(folder: Path, line: str, field: str, text: str) -> None:
    (folder / "model.toml").write_text(BASIC + line)
    violations = {v.field: v.description for v in refusal(folder).violations}
    assert violations.keys() == {field}
    assert text in violations[field]


@pytest.mark.parametrize(
    "architecture", ["resnet18", "timm:", "timm:a?weights=random", "timm:../a", "hub:a/b:c", "a.b:"]
)
def test_an_architecture_of_another_form_is_refused(folder: Path, architecture: str) -> None:
    (folder / "model.toml").write_text(BASIC.replace("timm:resnet10t", architecture))
    assert [v.field for v in refusal(folder).violations] == ["model.toml.architecture"]


def test_an_unknown_architecture_comes_with_near_names(folder: Path) -> None:
    (folder / "model.toml").write_text(BASIC.replace("resnet10t", "resnet10tt"))
    error = refusal(folder)
    assert "timm:resnet10t" in error.message
    assert error.reason == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"cat\n\ndog\n", "empty line 2"),
        (b"\n", "is empty"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_labels_that_are_none_are_refused(folder: Path, content: bytes, text: str) -> None:
    (folder / "labels.txt").write_bytes(content)
    assert text in refusal(folder).message


def test_a_broken_model_is_listed_with_its_reason_beside_the_good(folder: Path) -> None:
    for name, toml in {
        "absent": BASIC.replace("weights.pth", "gone.pth"),
        "bad toml": "architecture = ",
        "syntax": "architecture = ",
        "weightless": 'architecture = "timm:resnet10t"',
    }.items():
        other = folder.parent / name
        other.mkdir()
        (other / "model.toml").write_text(toml)
        (other / "labels.txt").write_text("cat\n")
    (folder.parent / "no_model").mkdir()
    (folder.parent / "file.txt").write_text("")
    described = {entry.name: entry.description for entry in FolderSource(folder.parent).entries()}
    assert described.keys() == {"absent", "bad toml", "mine", "syntax", "weightless"}
    assert described["absent"] == "broken: there is no file 'gone.pth' beside model.toml"
    assert "rename it" in described["bad toml"]
    assert "cannot be read" in described["syntax"]
    assert "name the file with the state dict" in described["weightless"]
    assert "broken" not in described["mine"]


def test_a_directory_that_is_not_there_yet_lists_nothing(tmp_path: Path) -> None:
    source = FolderSource(tmp_path / "later")
    assert list(source.entries()) == []
    assert source.spec("mine") is None


def test_a_model_can_be_mended_while_the_server_runs(folder: Path, state: dict[str, torch.Tensor]) -> None:
    source = FolderSource(folder.parent)
    (folder / "model.toml").write_text("architecture = 3")
    with pytest.raises(ModelBroken):
        source.spec("mine")
    (folder / "model.toml").write_text(BASIC)
    spec = source.spec("mine")
    assert spec is not None
    assert same(spec.build(), state)
