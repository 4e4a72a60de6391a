from __future__ import annotations

import pytest

from convscope_sdk.choice import PluginChoice
from convscope_sdk.loader import Loader


@pytest.mark.parametrize("pattern", ["acme-maps", "Acme_Maps", "acme-*", "maps", "m?ps"])
def test_a_pattern_names_a_distribution_or_an_entry_point(pattern: str) -> None:
    assert PluginChoice(deny=(pattern,)).refusal("maps", "acme.maps")
    assert not PluginChoice(allow=(pattern,)).refusal("maps", "acme.maps")
    assert not PluginChoice(deny=(pattern,)).refusal("other", "others")
    assert PluginChoice(allow=(pattern,)).refusal("other", "others")


def test_nobody_is_refused_unless_somebody_is_named() -> None:
    assert not PluginChoice().refusal("maps", "acme-maps")
    assert PluginChoice(allow=()).refusal("maps", "acme-maps")
    assert PluginChoice(allow=("*",), deny=("maps",)).refusal("maps", "acme-maps")


class Entry:
    """An entry point that tells whether it was imported."""

    group = "convscope.v1"
    value = "nowhere:plugin"

    def __init__(self, name: str, package: str) -> None:
        self.name = name
        self.loads = 0
        self.dist = type("Distribution", (), {"name": package, "version": "1.2"})()

    def load(self) -> object:
        self.loads += 1
        raise RuntimeError("imported")


def test_a_denied_plugin_is_listed_as_such_and_never_imported() -> None:
    denied, other = Entry("maps", "acme-maps"), Entry("else", "acme-else")
    loader = Loader(choice=PluginChoice(deny=("maps",), elsewhere=("acme-else",)))
    loader.load_entry_points(entry_points=[denied, other])
    (report,) = loader.plugins.reports
    assert (report.name, report.package, report.version) == ("maps", "acme-maps", "1.2")
    assert (report.ok, report.denied) == (False, True)
    assert "deny_plugins" in report.reason
    assert denied.loads == other.loads == 0


def test_the_built_ins_cannot_be_denied() -> None:
    builtin = Entry("convscope", "convscope")
    loader = Loader(choice=PluginChoice(allow=(), deny=("*",)))
    loader.load_entry_points(entry_points=[builtin])
    assert builtin.loads == 1
