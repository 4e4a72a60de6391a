from __future__ import annotations

import importlib
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from convscope_sdk import Event, ModelEntry, ModelSpec, Note, Params, Run, Technique, hookimpl, technique
from convscope_sdk.loader import Loader, PluginError, PluginReport, Plugins

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


# What works.


def test_an_entry_point_may_name_one_technique() -> None:
    show = make("pack.show")
    plugins = loaded(FakeEntryPoint("show", lambda: show))
    found = plugins.techniques["pack.show"]
    assert (found.technique, found.package, found.version, found.plugin) == (show, "pack", "1.2", "show")
    report = only_report(plugins)
    assert (report.name, report.package, report.version) == ("show", "pack", "1.2")
    assert (report.ok, report.reason, report.techniques) == (True, "", ("pack.show",))
    assert report.import_seconds >= 0


def test_an_entry_point_may_name_an_object_with_hooks() -> None:
    source = Folder()
    plugins = loaded(FakeEntryPoint("many", lambda: hooks([make("a"), make("b")], [source])))
    assert list(plugins.techniques) == ["a", "b"]
    assert plugins.sources == [source]
    assert only_report(plugins).techniques == ("a", "b")


def test_an_object_at_hand_is_loaded_like_an_installed_one() -> None:
    loader = Loader()
    loader.load_object("built-ins", hooks([make("a")]), package="convscope", version="0.1")
    assert loader.plugins.techniques["a"].package == "convscope"


def test_every_installed_plugin_of_this_environment_is_looked_at() -> None:
    loader = Loader()
    loader.load_entry_points()
    assert "convscope" in {report.package for report in loader.plugins.reports}


def test_a_file_gives_its_own_techniques_and_hooks(tmp_path: Path) -> None:
    plugins = from_file(
        tmp_path,
        GOOD.format(id="mine.show")
        + """
from dataclasses import replace
from convscope_sdk.technique import Technique

@hookimpl
def convscope_techniques():
    return [show, replace(show, id="mine.other")]
""",
    )
    assert set(plugins.techniques) == {"mine.show", "mine.other"}
    assert only_report(plugins).name == str(tmp_path / "mine.py")
    assert plugins.techniques["mine.show"].technique.params.parse({})


def test_what_a_file_imports_from_elsewhere_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "elsewhere_plugin.py").write_text(GOOD.format(id="elsewhere.show"))
    sys.path.insert(0, str(tmp_path))
    try:
        text = "from elsewhere_plugin import show as imported\n" + GOOD.format(id="mine.show")
        assert set(from_file(tmp_path, text).techniques) == {"mine.show"}
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("elsewhere_plugin")


# What is broken, one thing at a time; the good plugin beside it always loads.

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


# Contracts of other versions.


def test_a_plugin_for_another_contract_is_listed_not_loaded() -> None:
    plugins = loaded(FakeEntryPoint("later", raising(AssertionError("loaded")), group="convscope.v2"))
    report = only_report(plugins)
    assert (report.package, report.ok) == ("pack", False)
    assert report.reason == "needs contract v2; this server speaks v1"


def test_entry_points_of_other_programs_are_not_looked_at() -> None:
    other = [
        FakeEntryPoint("x", raising(AssertionError("loaded")), group=g) for g in ("console_scripts", "convscope.x")
    ]
    assert loaded(*other) == Plugins()


# Two of one name.


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_id_that_two_packages_claim_is_neithers_and_both_are_told(order: tuple[int, int]) -> None:
    both = [
        FakeEntryPoint("one", lambda: hooks([make("same"), make("one")]), package="pack-one"),
        FakeEntryPoint("two", lambda: make("same"), package="pack-two"),
    ]
    plugins = loaded(*(both[i] for i in order))
    assert list(plugins.techniques) == ["one"]
    one, two = plugins.reports
    assert "'same' is also claimed by plugin 'two' of pack-two" in one.reason
    assert "'same' is also claimed by plugin 'one' of pack-one" in two.reason
    assert (one.ok, one.techniques, two.ok, two.techniques) == (True, ("one",), False, ())


def test_one_given_by_name_goes_before_installed_ones_even_for_a_strict_loader() -> None:
    mine = make("a.same")
    loader = Loader(strict=True)
    loader.load_entry_points(entry_points=[FakeEntryPoint("theirs", lambda: make("a.same"))])
    loader.load_object("mine", mine)
    plugins = loader.plugins
    assert plugins.techniques["a.same"].technique is mine
    assert "is taken from 'mine', which was given by name" in plugins.reports[0].reason


def test_an_id_that_two_given_by_name_claim_is_neithers() -> None:
    loader = Loader()
    loader.load_object("one", make("a.same"))
    loader.load_object("other", make("a.same"))
    assert loader.plugins.techniques == {}


@pytest.mark.parametrize("builtin_first", [True, False])
def test_a_built_in_id_stays_the_built_ins(builtin_first: bool) -> None:
    loader = Loader()
    mine = make("grad_cam")
    theirs = FakeEntryPoint("theirs", lambda: make("grad_cam"), package="a-pack")
    if builtin_first:
        loader.load_object("convscope", mine, package="convscope")
    loader.load_entry_points(entry_points=[theirs])
    if not builtin_first:
        loader.load_object("convscope", mine, package="convscope")
    assert loader.plugins.techniques["grad_cam"].technique is mine
    reports = {report.name: report for report in loader.plugins.reports}
    assert (reports["convscope"].ok, reports["convscope"].reason) == (True, "")
    assert "built in; rename it, for example a_pack.grad_cam" in reports["theirs"].reason
    assert not reports["theirs"].ok


def test_a_strict_loader_refuses_an_id_claimed_twice() -> None:
    loader = Loader(strict=True)
    for package in ("one", "two"):
        loader.load_object(package, make("same"), package=package)
    with pytest.raises(PluginError, match="'same' is also claimed"):
        _ = loader.plugins


class _Greys:
    """An image set source."""

    name = "greys"

    def entries(self) -> list[Any]:
        return []

    def spec(self, name: str) -> None:
        return None


def _image_set_hooks(offered: list[Any]) -> object:
    class Plugin:
        @hookimpl
        def convscope_image_set_sources(self) -> list[Any]:
            return offered

    return Plugin()


def test_a_plugin_may_offer_image_sets_alone() -> None:
    source = _Greys()
    plugins = loaded(FakeEntryPoint("greys", lambda: _image_set_hooks([source])))
    assert plugins.image_set_sources == [source]
    assert only_report(plugins).ok


def test_an_image_set_source_without_its_methods_is_refused() -> None:
    plugins = loaded(FakeEntryPoint("greys", lambda: _image_set_hooks([object()])))
    assert plugins.image_set_sources == []
    assert "convscope_image_set_sources" in only_report(plugins).reason
