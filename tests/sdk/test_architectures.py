"""Architectures that plugins offer, and networks that take no pictures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from convscope_sdk.errors import NotApplicable
from convscope_sdk.hookspecs import hookimpl
from convscope_sdk.loader import BUILTIN_PACKAGE, Loader, PluginError
from convscope_sdk.models import Architecture, ModelSpec
from convscope_sdk.network import Network


def offering(*architectures: Any) -> SimpleNamespace:
    @hookimpl
    def convscope_architectures() -> list[Any]:
        return list(architectures)

    return SimpleNamespace(convscope_architectures=convscope_architectures)


def architecture(identifier: str) -> Architecture:
    return Architecture(identifier, lambda: nn.Linear(4, 4))


def test_built_in_and_foreign_architectures_are_collected() -> None:
    loader = Loader(strict=True)
    ours, theirs = architecture("net"), architecture("acme.net")
    loader.load_object("ours", offering(ours), BUILTIN_PACKAGE)
    loader.load_object("theirs", offering(theirs), "acme")
    assert loader.plugins.architectures == {"net": ours, "acme.net": theirs}


@pytest.mark.parametrize("wrong", ["net", "Acme.Net", "a.b.c", ""])
def test_a_plugin_names_its_architectures_with_its_own_prefix(wrong: str) -> None:
    with pytest.raises(PluginError, match=r"vendor\.name"):
        Loader(strict=True).load_object("theirs", offering(architecture(wrong)), "acme")


def test_what_is_no_architecture_is_refused() -> None:
    with pytest.raises(PluginError, match="no Architecture"):
        Loader(strict=True).load_object("theirs", offering("net"), "acme")


def test_an_architecture_of_two_plugins_stays_with_the_first() -> None:
    loader = Loader()
    first = architecture("acme.net")
    loader.load_object("first", offering(first), "acme")
    loader.load_object("second", offering(architecture("acme.net")), "other")
    assert loader.plugins.architectures == {"acme.net": first}


def test_a_generator_shows_its_layers_once_it_says_what_it_takes() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 2, 2)), nn.Upsample(scale_factor=2))

    spec = ModelSpec("decoder", "tests", build, kind="generator", code_shape=(4,))
    layers = Network(build(), spec).layers
    assert [layer.output_shape for layer in layers] == [(12,), (3, 2, 2), (3, 4, 4)]
    with pytest.raises(NotApplicable, match="unknown code_shape"):
        _ = Network(build(), ModelSpec("decoder", "tests", build, kind="generator")).layers
