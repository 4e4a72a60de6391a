from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convscope.catalog import PluginInfo, TechniqueInfo
from convscope.cli.inventory import Inventory, fingerprint, forget, recall, remember
from support.plugin_files import brightness_file, installed

SEEN = Inventory(
    (TechniqueInfo("a.b", "What it shows.", {"type": "object"}, frozenset({"image"}), "nobody", "p", "1", {"x": "y"}),),
    (
        PluginInfo("plugin", "p", "1", loaded=True, techniques=("a.b",)),
        PluginInfo("q", "q", "2", loaded=False, reason="no"),
    ),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_remembered_comes_back_as_it_was() -> None:
    assert recall("0" * 64) is None
    remember("0" * 64, SEEN)
    assert recall("0" * 64) == SEEN
    assert recall("1" * 64) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"techniques": [{"id": 1}], "plugins": []}'])
def test_what_cannot_be_read_is_unknown(home: Path, text: str) -> None:
    remember("0" * 64, SEEN)
    (file,) = home.rglob("*.json")
    file.write_text(text)
    assert recall("0" * 64) is None


def test_where_nothing_can_be_written_nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember("0" * 64, SEEN)
    assert recall("0" * 64) is None


def test_old_states_are_forgotten(home: Path) -> None:
    for number in range(12):
        remember(f"{number:032d}", SEEN)
    assert len(list(home.rglob("*.json"))) == 8
    forget(1)
    assert recall(f"{11:032d}") == SEEN


def test_a_fingerprint_is_of_versions_sources_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    states = [fingerprint(), fingerprint()]
    assert states[0] == states[1]
    installed(tmp_path / "site")
    states.append(fingerprint())
    file = brightness_file(tmp_path / "site")
    states.append(fingerprint())
    file.write_text(file.read_text() + "\n")
    states.append(fingerprint())
    (tmp_path / "site" / "other-1.dist-info").mkdir()
    states.append(fingerprint())
    monkeypatch.setenv("CONVSCOPE_PLUGINS", "")
    states.append(fingerprint())
    assert len(set(states)) == len(states) - 1


@pytest.mark.slow
def test_the_second_listing_imports_no_plugin_and_no_torch(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for number in range(3):
        module = f"acme_{number}"
        installed(site, name=f"acme-{number}", entry_points=f"[convscope.v1]\nplugin = {module}:technique\n")
        (site / f"{module}.py").write_text(_PLUGIN.format(number=number, log=str(tmp_path / "imported")))
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    variables.pop("CONVSCOPE_SERVER", None)
    said = [_listed(variables) for _ in range(2)]
    assert said[0][0] == said[1][0]
    assert sum(line.startswith("acme.number_") for line in said[0][0]) == 3
    assert (tmp_path / "imported").read_text().split() == ["0", "1", "2"]
    assert said[1][1] == []


_PLUGIN = """
from convscope_sdk import Params, Text, technique
open({log!r}, "a").write("{number}\\n")

@technique("acme.number_{number}", params=Params)
def technique(run):
    '''Says its number.'''
    yield Text("number", "{number}")
"""

_LISTING = """
import sys
from convscope.cli.app import build
try:
    build()(["techniques"])
except SystemExit:
    pass
print("heavy:", *(name for name in ("torch", "convscope_sdk", "convscope_server") if name in sys.modules))
"""


def _listed(variables: dict[str, str]) -> tuple[list[str], list[str]]:
    done = subprocess.run([sys.executable, "-c", _LISTING], capture_output=True, text=True, check=True, env=variables)
    *lines, heavy = done.stdout.splitlines()
    return lines, heavy.split()[1:]
