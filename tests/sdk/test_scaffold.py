from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from convscope_sdk import hookspecs
from convscope_sdk.loader import Loader
from convscope_sdk.scaffold import ScaffoldError, create

FILES = {
    ".github/workflows/ci.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "src/convscope_edge_maps/__init__.py",
    "tests/test_conformance.py",
    "tests/test_sensitivity.py",
}


def test_a_new_package_has_these_files_and_no_others(tmp_path: Path) -> None:
    made = create("edge-maps", tmp_path, author='Ada "the first" Lovelace')
    root = tmp_path / "convscope-edge-maps"
    assert {path.relative_to(root).as_posix() for path in made} == FILES
    assert {path for path in root.rglob("*") if path.is_file()} == set(made)
    assert "Ada 'the first' Lovelace" in (root / "LICENSE").read_text()
    assert not any("$package" in path.read_text() or "$identifier" in path.read_text() for path in made)
    assert "${{ matrix.python }}" in (root / ".github/workflows/ci.yml").read_text()


def test_its_metadata_name_the_contract_and_the_technique(tmp_path: Path) -> None:
    create("edge-maps", tmp_path)
    project = tomllib.loads((tmp_path / "convscope-edge-maps" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "convscope-edge-maps"
    assert project["entry-points"] == {hookspecs.ENTRY_POINT_GROUP: {"sensitivity": "convscope_edge_maps:sensitivity"}}
    assert project["dependencies"] == ["convscope>=0.1"]


def test_its_technique_loads_as_a_loose_file_too(tmp_path: Path) -> None:
    create("edge-maps", tmp_path)
    loader = Loader(strict=True)
    loader.load_file(tmp_path / "convscope-edge-maps/src/convscope_edge_maps/__init__.py")
    assert list(loader.plugins.techniques) == ["edge_maps.sensitivity"]


def test_the_prefix_is_not_repeated(tmp_path: Path) -> None:
    create("convscope-edges", tmp_path)
    assert (tmp_path / "convscope-edges").is_dir()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Edge Maps", "did you mean 'edge-maps'"),
        ("edge_maps", "did you mean 'edge-maps'"),
        ("1edge", "did you mean 'edge'"),
        ("../../etc", "did you mean 'etc'"),
        ("édge", "such as edge-maps"),
        ("", "such as edge-maps"),
        ("-", "such as edge-maps"),
        ("a" * 51, "at most 50 characters"),
        ("edge\nmaps", "did you mean 'edge-maps'"),
        ("sdk", "take another name"),
        ("convscope-server", "take another name"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ScaffoldError, match=message):
        create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "convscope-edges"
    mine.mkdir()
    (mine / "precious.txt").write_text("mine")
    with pytest.raises(ScaffoldError, match="nothing is overwritten"):
        create("edges", tmp_path)
    assert [path.name for path in mine.iterdir()] == ["precious.txt"]
    (tmp_path / "convscope-link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ScaffoldError, match="nothing is overwritten"):
        create("link", tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match="make it first"):
        create("edges", tmp_path / "nowhere")
