"""Plugins as the loader meets them: entry points of packages that are not installed, objects, and files."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from convscope_sdk import Event, ModelEntry, ModelSpec, Note, Params, Run, Technique, hookimpl, technique
from convscope_sdk.loader import Loader, PluginReport, Plugins

__all__ = [
    "GOOD",
    "FakeEntryPoint",
    "Folder",
    "NoParams",
    "from_file",
    "hooks",
    "loaded",
    "make",
    "only_report",
    "raising",
]

GOOD = """
from collections.abc import Iterator
from convscope_sdk import Event, Note, Params, Run, hookimpl, technique

class NoParams(Params):
    "None."

@technique("{id}")
def show(run: Run[NoParams]) -> Iterator[Event]:
    "Something."
    yield Note("")
"""


class NoParams(Params):
    """None."""


def make(identifier: str) -> Technique[NoParams]:
    @technique(identifier, params=NoParams)
    def show(run: Run[NoParams]) -> Iterator[Event]:
        """Something."""
        yield Note("")

    return show


class Folder:
    name = "folder"

    def entries(self) -> list[ModelEntry]:
        return []

    def spec(self, name: str) -> ModelSpec | None:
        return None


@dataclass
class FakeEntryPoint:
    """An installed entry point of the package `package`."""

    name: str
    load: Callable[[], object]
    package: str = "pack"
    group: str = "convscope.v1"
    value: str = "no_such_module"
    version: str = "1.2"
    dist: Any = field(init=False)

    def __post_init__(self) -> None:
        self.dist = SimpleNamespace(name=self.package, version=self.version)


def hooks(techniques: Any = None, sources: Any = None) -> object:
    """A plugin object whose hooks give what is given."""

    class Plugin:
        if techniques is not None:

            @hookimpl
            def convscope_techniques(self) -> Any:
                return techniques() if callable(techniques) else techniques

        if sources is not None:

            @hookimpl
            def convscope_model_sources(self) -> Any:
                return sources

    return Plugin()


def loaded(*entry_points: FakeEntryPoint) -> Plugins:
    loader = Loader()
    loader.load_entry_points(entry_points=entry_points)
    return loader.plugins


def from_file(tmp_path: Path, text: str) -> Plugins:
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(text))
    loader = Loader()
    loader.load_file(path)
    return loader.plugins


def only_report(plugins: Plugins) -> PluginReport:
    (report,) = plugins.reports
    return report


def raising(error: BaseException) -> Callable[[], object]:
    def load() -> object:
        raise error

    return load
