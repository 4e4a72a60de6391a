"""A technique behaves the same through all three doors: installed, as a loose file, as an object."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import convscope
from convscope_sdk.conformance.found import find
from support.plugin_files import BRIGHTNESS, brightness_file, installed

PICTURE = Image.radial_gradient("L").convert("RGB")
Door = Callable[[Path], dict[str, Any]]


def as_object(folder: Path) -> dict[str, Any]:
    brightness_file(folder)
    sys.path.insert(0, str(folder))
    return {"techniques": [importlib.import_module("acme_brightness").brightness]}


def as_file(folder: Path) -> dict[str, Any]:
    return {"plugin_files": [brightness_file(folder)]}


def as_package(folder: Path) -> dict[str, Any]:
    brightness_file(folder)
    sys.path.insert(0, str(installed(folder)))
    return {}


DOORS: Mapping[str, Door] = {"object": as_object, "file": as_file, "package": as_package}


@pytest.fixture(autouse=True)
def path() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before
    sys.modules.pop("acme_brightness", None)


def seen_through(door: Door, folder: Path) -> tuple[dict[str, Any], convscope.Result]:
    with convscope.embedded(**door(folder)) as client:
        entry = dataclasses.asdict(client.technique("acme.brightness"))
        result = client.visualize("acme.brightness", image=PICTURE, seed=3, noise=0.25).result()
        with pytest.raises(convscope.InvalidArgument, match="noise"):
            client.visualize("acme.brightness", image=PICTURE, noise=2)
    return entry, result


@pytest.mark.parametrize("door", ["file", "package"])
def test_every_door_gives_the_same_entry_refusals_and_pixels(tmp_path: Path, door: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    entry, result = seen_through(DOORS["object"], tmp_path / "one")
    sys.modules.pop("acme_brightness", None)
    sys.path.remove(str(tmp_path / "one"))
    other_entry, other_result = seen_through(DOORS[door], tmp_path / "other")
    origin = ("package", "version")
    assert {k: v for k, v in entry.items() if k not in origin} == {
        k: v for k, v in other_entry.items() if k not in origin
    }
    assert (other_entry["package"], other_entry["version"]) == (
        ("acme-brightness", "1.2") if door == "package" else ("", "")
    )
    assert np.array_equal(result.tensors["brightness"], other_result.tensors["brightness"])
    assert result.report.scores == other_result.report.scores
    assert [a.name for a in result.artifacts] == [a.name for a in other_result.artifacts]


@pytest.mark.parametrize("door", ["object", "file"])
def test_what_is_given_by_name_goes_before_what_is_installed(tmp_path: Path, door: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "mine").mkdir()
    as_package(tmp_path / "site")
    (tmp_path / "mine" / "acme_brightness.py").write_text(
        BRIGHTNESS.replace("How bright", "As I am writing it: how bright")
    )
    if door == "object":
        sys.path.insert(0, str(tmp_path / "mine"))
        given: dict[str, Any] = {"techniques": [importlib.import_module("acme_brightness").brightness]}
        sys.modules.pop("acme_brightness")
        sys.path.pop(0)
    else:
        given = {"plugin_files": [tmp_path / "mine" / "acme_brightness.py"]}
    with convscope.embedded(**given) as client:
        assert client.technique("acme.brightness").summary.startswith("As I am writing it")
        (replaced,) = [plugin for plugin in client.plugins() if plugin.package == "acme-brightness"]
    assert "was given by name and goes first" in replaced.reason


def test_the_kit_finds_it_through_the_doors_that_have_names(tmp_path: Path) -> None:
    file = brightness_file(tmp_path)
    assert find("acme.brightness", [file]).id == "acme.brightness"
    sys.path.insert(0, str(installed(tmp_path)))
    assert find("acme.brightness").id == "acme.brightness"
