from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from convscope_sdk import hookimpl
from convscope_sdk.loader import Loader, Plugins
from support.entry_points import (
    GOOD,
    FakeEntryPoint,
    Folder,
    from_file,
    hooks,
    loaded,
    make,
    only_report,
    raising,
)


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
