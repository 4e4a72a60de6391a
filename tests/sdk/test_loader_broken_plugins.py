from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from convscope_sdk import Note, Params, Technique, hookimpl
from convscope_sdk.loader import Loader, PluginError
from support.entry_points import (
    FakeEntryPoint,
    Folder,
    from_file,
    hooks,
    loaded,
    make,
    only_report,
    raising,
)

NO_MODULE = raising(ModuleNotFoundError("No module named 'jax'"))


def with_id(identifier: Any) -> Technique[Any]:
    return replace(make("x"), id=identifier)


class Unserialisable(Params):
    """With a field that JSON does not know."""

    what: Any = Note

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        raise RuntimeError("no schema")


class MisspeltHook:
    @hookimpl
    def convscope_technique(self) -> list[Any]:
        return []


class WrongArguments:
    @hookimpl
    def convscope_techniques(self, host: object) -> list[Any]:
        return []


def failing_generator() -> Iterator[Technique[Any]]:
    yield make("first")
    raise KeyError("second")


BROKEN: dict[str, tuple[Callable[[], object], str]] = {
    "missing library": (NO_MODULE, "ModuleNotFoundError: No module named 'jax'; install"),
    "import raises": (raising(ValueError("bad constant")), "ValueError: bad constant"),
    "import exits": (raising(SystemExit(3)), r"sys.exit\(3\)"),
    "no plugin at all": (lambda: 42, "offers nothing"),
    "no hooks": (lambda: SimpleNamespace(techniques=[]), "offers nothing"),
    "hook raises": (lambda: hooks(raising(LookupError("no weights"))), "convscope_techniques.*LookupError: no weights"),
    "hook exits": (lambda: hooks(raising(SystemExit(0))), r"sys.exit\(0\)"),
    "hook gives none": (lambda: hooks(lambda: None), "gave None"),
    "hook gives a number": (lambda: hooks(7), "should give a list"),
    "hook gives text": (lambda: hooks("ab"), "'a', which is no Technique"),
    "hook gives functions": (lambda: hooks([print]), "no Technique; use @technique"),
    "hook breaks halfway": (lambda: hooks(failing_generator), "KeyError: 'second'"),
    "misspelt hook": (MisspeltHook, "unknown hook 'convscope_technique'"),
    "hook with arguments": (WrongArguments, "host"),
    "wrong source": (lambda: hooks(sources=[object()]), r"without name, entries\(\) and spec\(\)"),
    "bad id": (lambda: with_id("Grad-CAM"), "lower-case words"),
    "id of another type": (lambda: with_id(None), "lower-case words"),
    "unknown need": (lambda: replace(make("x"), needs=frozenset({"gpu"})), r"unknown needs \['gpu'\]"),
    "no generator": (lambda: replace(make("x"), function=iter), "no generator function"),
    "no params": (lambda: replace(make("x"), params=dict), "no subclass of Params"),
    "no schema": (lambda: replace(make("x"), params=Unserialisable), "no JSON Schema: no schema"),
    "twice the same id": (lambda: hooks([make("x"), make("x")]), "offers x twice"),
}


@pytest.mark.parametrize(("load", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_is_listed_with_its_reason_and_no_other_suffers(
    load: Callable[[], object], reason: str
) -> None:
    good = make("good")
    broken = FakeEntryPoint("broken", load, package="a_broken", version="6.6")
    plugins = loaded(broken, FakeEntryPoint("fine", lambda: good, package="b_fine"))
    assert list(plugins.techniques) == ["good"]
    assert plugins.sources == []
    report = plugins.reports[0]
    assert (report.name, report.package, report.version, report.ok) == ("broken", "a_broken", "6.6", False)
    assert report.techniques == ()
    assert re.search(reason, report.reason)
    assert plugins.reports[1].ok


@pytest.mark.parametrize(("load", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_strict_loader_raises_instead(load: Callable[[], object], reason: str) -> None:
    with pytest.raises(PluginError, match=f"plugin 'broken': .*{reason}") as error:
        Loader(strict=True).load_entry_points(entry_points=[FakeEntryPoint("broken", load)])
    assert error.value.__cause__ is not None


def test_a_plugin_that_fails_halfway_contributes_nothing() -> None:
    plugins = loaded(FakeEntryPoint("half", lambda: hooks([make("fine")], [Folder(), object()])))
    assert (plugins.techniques, plugins.sources) == ({}, [])


def test_an_interrupt_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        loaded(FakeEntryPoint("slow", raising(KeyboardInterrupt())))


def test_a_distribution_with_unreadable_metadata_does_not_hide_its_plugin() -> None:
    entry_point = FakeEntryPoint("show", lambda: make("show"))
    entry_point.dist = None
    assert loaded(entry_point).techniques["show"].package == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(:", "SyntaxError"),
        ("import no_such_library_anywhere", "install what it needs"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys\nsys.exit('bye')", "bye"),
        ("x = 1", "offers nothing"),
    ],
)
def test_a_broken_file_is_listed_and_leaves_no_module(tmp_path: Path, text: str, reason: str) -> None:
    before = set(sys.modules)
    report = only_report(from_file(tmp_path, text))
    assert not report.ok
    assert reason in report.reason
    assert {name for name in set(sys.modules) - before if name.startswith("convscope_file")} == set()


def test_a_file_that_is_not_there_or_no_python_is_listed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    loader = Loader()
    loader.load_file(tmp_path / "gone.py")
    loader.load_file(tmp_path / "notes.txt")
    gone, notes = loader.plugins.reports
    assert "FileNotFoundError" in gone.reason
    assert "end in .py" in notes.reason


def test_a_failed_import_leaves_none_of_the_plugins_modules_behind(tmp_path: Path) -> None:
    package = tmp_path / "half_imported_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("from half_imported_plugin import fine\nimport wave\n1 / 0\n")
    (package / "fine.py").write_text("")
    sys.path.insert(0, str(tmp_path))
    try:
        entry_point = FakeEntryPoint(
            "half", lambda: importlib.import_module("half_imported_plugin"), value="half_imported_plugin:plugin"
        )
        assert "ZeroDivisionError" in only_report(loaded(entry_point)).reason
    finally:
        sys.path.remove(str(tmp_path))
    assert not [name for name in sys.modules if name.startswith("half_imported_plugin")]
    assert "wave" in sys.modules
