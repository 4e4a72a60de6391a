from __future__ import annotations

import pytest

from convscope_sdk.loader import Loader, PluginError
from support.entry_points import (
    FakeEntryPoint,
    hooks,
    loaded,
    make,
)


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
