"""Models in a directory: MODELS_DIR/NAME/model.toml, with weights and labels beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from convscope_sdk.errors import TechniqueError
from convscope_sdk.models import Architecture, CodeFacts, ModelEntry, ModelSource, ModelSpec
from convscope_server.models.errors import ModelBroken
from convscope_server.models.sources import timm, torchvision
from convscope_server.models.sources.building import architecture_of, build_module
from convscope_server.models.sources.labels import read_labels
from convscope_server.models.sources.manifest import FILE_NAME, Manifest, inside
from convscope_server.models.sources.reference import RANDOM

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FolderSource"]

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


class FolderSource:
    """Offers every model of a directory under the name of its folder.

    A broken model is listed with its reason and refused when asked for; the others work. The directory is read anew
    at each question, so models can be added, mended and removed while the server runs.

    Args:
        directory: MODELS_DIR. A folder in it may be a link; what a folder holds may not lead out of it.
        allow_code: Whether a model.toml may name a Python callable, `module:callable`. The module is
            `module.py` in the model's folder, or one that is installed.
        architectures: What "convscope:ID" may name.
    """

    name = "folder"

    def __init__(
        self, directory: Path, *, allow_code: bool = False, architectures: Mapping[str, Architecture] | None = None
    ) -> None:
        self._directory = directory
        self._allow_code = allow_code
        self._architectures = architectures or {}

    def entries(self) -> Iterable[ModelEntry]:
        """One for each folder with a model.toml; nothing but that file is read."""
        return tuple(self._entry(folder) for folder in self._folders())

    def spec(self, name: str) -> ModelSpec | None:
        """How to build it, or None where there is no such folder.

        Raises:
            ModelBroken: model.toml cannot be used; from `build`, weights that cannot.
        """
        folder = self._directory / name
        if not _NAME.fullmatch(name) or not (folder / FILE_NAME).exists():
            return None
        try:
            manifest = self._manifest(folder)
            labels = read_labels(inside(folder, manifest.labels)) if manifest.labels else ()
            return self._spec(name, folder, manifest, labels)
        except TechniqueError as error:
            raise _about(name, error) from error

    def _folders(self) -> Iterator[Path]:
        try:
            found = sorted(self._directory.iterdir())
        except OSError:
            return  # not there yet: models may be put in later
        yield from (folder for folder in found if (folder / FILE_NAME).exists())

    def _entry(self, folder: Path) -> ModelEntry:
        try:
            manifest = self._manifest(folder)
        except TechniqueError as error:
            return ModelEntry(folder.name, f"broken: {error.message}")
        return ModelEntry(folder.name, _description(manifest), manifest.kind, _listed_version(folder, manifest))

    def _manifest(self, folder: Path) -> Manifest:
        if not _NAME.fullmatch(folder.name):
            raise ModelBroken("a model's folder is named with letters, digits, '.', '_' and '-'; rename it")
        manifest = Manifest.read(folder)
        if manifest.library is None and not self._allow_code:
            raise ModelBroken(
                f"architecture {manifest.architecture!r} is Python code, which this server does not run for models; "
                f"trust it with allow_code = true, or use timm:NAME or torchvision:NAME",
                reason="CODE_NOT_ALLOWED",
            )
        if manifest.library == "convscope":
            architecture_of(manifest, self._architectures)
        return manifest

    def _spec(self, name: str, folder: Path, manifest: Manifest, labels: tuple[str, ...]) -> ModelSpec:
        def build() -> nn.Module:
            try:
                return build_module(name, folder, manifest, len(labels), self._architectures)
            except TechniqueError as error:
                raise _about(name, error) from error

        given = manifest.model_dump(
            include={"input_size", "mean", "std", "interpolation", "crop_fraction", "code_shape"}, exclude_none=True
        )
        return replace(
            _pretraining(manifest),
            name=name,
            source=self.name,
            build=build,
            kind=manifest.kind,
            description=_description(manifest),
            random_weights=False,
            version=_version(folder, manifest),
            codes=None if manifest.codes is None else CodeFacts(**manifest.codes.model_dump()),
            **given | ({"classes": labels} if labels else {}),
        )


def _about(name: str, error: TechniqueError) -> TechniqueError:
    """The same refusal, saying which model it is about."""
    return ModelBroken(
        f"model {name!r}: {error.message}",
        reason=error.reason,
        metadata={**error.metadata, "model": name},
        violations=error.violations,
    )


def _description(manifest: Manifest) -> str:
    if manifest.description:
        return manifest.description
    return f"{manifest.architecture} with {manifest.weights or 'its own weights'}"


def _version(folder: Path, manifest: Manifest) -> str:
    """What is another once any file of the model is another."""
    names = (FILE_NAME, *filter(None, (manifest.weights, manifest.labels)))
    found = [inside(folder, name).stat() for name in names]
    return " ".join(f"{s.st_ino}-{s.st_size}-{s.st_mtime_ns}" for s in found)


def _listed_version(folder: Path, manifest: Manifest) -> str:
    """The version where the files tell it all: not where a file is missing, nor where Python code builds the model."""
    if manifest.library is None:
        return ""
    try:
        return _version(folder, manifest)
    except (TechniqueError, OSError):
        return ""


def _pretraining(manifest: Manifest) -> ModelSpec:
    """What the architecture's own library says of preprocessing and labels."""
    libraries: dict[str, ModelSource] = {"timm": timm.TimmSource(), "torchvision": torchvision.TorchvisionSource()}
    if manifest.library is None or manifest.library == "convscope":
        return ModelSpec(name="", source="", build=_never, classes=())
    found = libraries[manifest.library].spec(f"{manifest.architecture}?weights={RANDOM}")
    assert found is not None  # the prefix is its own
    return found if manifest.kind == "classifier" else replace(found, classes=())


def _never() -> nn.Module:
    raise AssertionError("a template, replaced before anyone builds it")
