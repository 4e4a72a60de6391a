"""The registry asks sources in order, and survives a broken one."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from torch import nn

from convscope_sdk.errors import NotApplicable, UnknownName
from convscope_sdk.models import ModelEntry, ModelSource, ModelSpec
from convscope_server.models.errors import SourceFailed
from convscope_server.models.registry import ModelRegistry, builtin_sources


class Shelf:
    """A source with the models that it was given."""

    def __init__(self, name: str, *models: str) -> None:
        self.name = name
        self.models = models

    def entries(self) -> Iterable[ModelEntry]:
        return [ModelEntry(model, f"{model} of {self.name}") for model in self.models]

    def spec(self, name: str) -> ModelSpec | None:
        return ModelSpec(name, self.name, nn.Identity) if name in self.models else None


class Broken:
    name = "acme"

    def entries(self) -> Iterable[ModelEntry]:
        raise ZeroDivisionError("secret of acme")

    def spec(self, name: str) -> ModelSpec | None:
        raise ZeroDivisionError("secret of acme")


class Refusing(Shelf):
    def spec(self, name: str) -> ModelSpec | None:
        raise NotApplicable("not today")


def test_the_first_source_that_has_a_name_wins_it(caplog: pytest.LogCaptureFixture) -> None:
    registry = ModelRegistry([Shelf("one", "a"), Shelf("two", "a", "b")])
    assert registry.spec("a").source == "one"
    assert registry.spec("b").source == "two"
    assert [(info.name, info.source) for info in registry.entries()] == [("a", "one"), ("b", "two")]
    assert "'a' of source 'two' is hidden by source 'one'" in caplog.text


def test_an_unknown_name_comes_with_near_ones_and_the_prefixes() -> None:
    with pytest.raises(UnknownName, match=r"'efficientnet_lite0'.*timm:resnet18.*torchvision:resnet18") as caught:
        ModelRegistry(builtin_sources()).spec("efficientnet_lite")
    assert caught.value.reason == "MODEL_NOT_FOUND"


def test_a_broken_source_hides_nobody_else_s_models(caplog: pytest.LogCaptureFixture) -> None:
    registry = ModelRegistry([Broken(), Shelf("good", "a")])
    assert registry.spec("a").source == "good"
    assert [info.name for info in registry.entries()] == ["a"]
    assert "model source 'acme' failed" in caplog.text


def test_a_broken_source_is_named_and_its_text_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(SourceFailed, match="'acme' failed with ZeroDivisionError") as caught,
    ):
        ModelRegistry([Broken(), Shelf("good")]).spec("a")
    assert caught.value.code == "INTERNAL"
    assert "secret" not in caught.value.message
    assert "secret of acme" in caplog.text


def test_a_refusal_ends_the_search() -> None:
    with pytest.raises(NotApplicable, match="not today"):
        ModelRegistry([Refusing("one"), Shelf("two", "a")]).spec("a")


def test_the_sources_of_the_server_are_model_sources_in_a_fixed_order(tmp_path: Path) -> None:
    sources = builtin_sources(tmp_path)
    assert [source.name for source in sources] == ["builtin", "folder", "timm", "torchvision"]
    assert all(isinstance(source, ModelSource) for source in sources)
    assert [source.name for source in builtin_sources(None)] == ["builtin", "timm", "torchvision"]


def test_importing_the_registry_imports_neither_torch_nor_timm() -> None:
    program = (
        "import sys, convscope_server.models.registry as r; r.ModelRegistry(r.builtin_sources()).entries(); "
        "print(sorted({'torch', 'timm', 'torchvision'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
