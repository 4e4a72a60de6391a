"""Offers the models that come with the techniques."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope_sdk.models import Architecture, CodeFacts, ModelEntry, ModelSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ShippedSource"]

_HERE = Path(__file__).parent
_PREPROCESSING = ("input_size", "mean", "std", "interpolation", "crop_fraction", "code_shape")


class ShippedSource:
    """The folders beside this file, each with a model.toml as in a directory of models, whose weights are float16.

    Args:
        architectures: What "convscope:ID" may name there.
        directory: Where they are.
    """

    name = "shipped"

    def __init__(self, architectures: Iterable[Architecture], directory: Path = _HERE) -> None:
        self._architectures = {architecture.id: architecture for architecture in architectures}
        self._directory = directory

    def entries(self) -> Iterable[ModelEntry]:
        """One for each folder."""
        for file in sorted(self._directory.glob("*/model.toml")):
            manifest = _read(file)
            weights = (file.parent / manifest["weights"]).stat()
            version = f"{weights.st_size}-{weights.st_mtime_ns}"
            yield ModelEntry(file.parent.name, manifest["description"], manifest["kind"], version)

    def spec(self, name: str) -> ModelSpec | None:
        """How to build it, or None where there is no such folder."""
        if name not in {file.parent.name for file in self._directory.glob("*/model.toml")}:
            return None
        folder = self._directory / name
        manifest = _read(folder / "model.toml")
        given = {key: _plain(manifest[key]) for key in _PREPROCESSING if key in manifest}
        return ModelSpec(
            name,
            self.name,
            lambda: self._build(folder, manifest),
            kind=manifest["kind"],
            description=manifest["description"],
            codes=CodeFacts(**manifest["codes"]) if "codes" in manifest else None,
            **given,
        )

    def _build(self, folder: Path, manifest: Mapping[str, Any]) -> nn.Module:
        from safetensors.torch import load_file

        architecture = self._architectures[manifest["architecture"].removeprefix("convscope:")]
        arguments = {key: _plain(value) for key, value in manifest.get("arguments", {}).items()}
        module = architecture.build(**arguments)
        module.load_state_dict(dict(architecture.adapt(load_file(folder / manifest["weights"]))))
        return module


def _read(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
