"""Every model that can be asked for, whichever source has it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from convscope_sdk.errors import TechniqueError, UnknownName
from convscope_sdk.models import Architecture, ModelEntry, ModelSource, ModelSpec
from convscope_server.engine.messages import ModelInfo
from convscope_server.models.errors import SourceFailed
from convscope_server.models.sources.builtin import BuiltinSource
from convscope_server.models.sources.folder import FolderSource
from convscope_server.models.sources.timm import TimmSource
from convscope_server.models.sources.torchvision import TorchvisionSource

__all__ = ["ModelRegistry", "builtin_sources"]

logger = logging.getLogger(__name__)

_HINT = "names of timm and torchvision take a prefix: 'timm:resnet18', 'torchvision:resnet18'"


def builtin_sources(
    models_dir: Path | None = None,
    allow_code: bool = False,
    architectures: Mapping[str, Architecture] | None = None,
) -> list[ModelSource]:
    """The sources that come with the server, in the order in which they are asked.

    Args:
        models_dir: Directory with a folder for each model; None for none.
        allow_code: Whether a model.toml there may name a Python callable.
        architectures: What a model.toml there may name as "convscope:ID".
    """
    folders = [FolderSource(models_dir, allow_code=allow_code, architectures=architectures)] if models_dir else []
    return [BuiltinSource(), *folders, TimmSource(), TorchvisionSource()]


class ModelRegistry:
    """Asks sources in order; the first that has a name wins it."""

    def __init__(self, sources: Iterable[ModelSource]) -> None:
        self._sources = tuple(sources)

    def entries(self) -> list[ModelInfo]:
        """The models that sources list. A source that fails is logged, and lists nothing."""
        found: dict[str, ModelInfo] = {}
        for source in self._sources:
            for entry in _entries(source):
                info = ModelInfo(entry.name, entry.kind, source.name, entry.description, entry.version)
                if found.setdefault(entry.name, info).source != source.name:
                    logger.warning(
                        "model %r of source %r is hidden by source %r",
                        entry.name,
                        source.name,
                        found[entry.name].source,
                    )
        return list(found.values())

    def spec(self, name: str) -> ModelSpec:
        """How to build the model `name`.

        Raises:
            UnknownName: no source has it; carries near names.
            TechniqueError: a source has it, but it cannot be had.
            SourceFailed: no source has it, and one that was asked failed.
        """
        failure: SourceFailed | None = None
        for source in self._sources:
            try:
                spec = source.spec(name)
            except TechniqueError:
                raise
            except Exception as error:  # the bug of the plugin that brought the source; another may have the model
                logger.exception("model source %r failed when asked for %r", source.name, name)
                failure = failure or SourceFailed.of(source.name, name, error)
            else:
                if spec is not None:
                    return spec
        raise failure or UnknownName.among("model", name, (info.name for info in self.entries()), hint=_HINT)


def _entries(source: ModelSource) -> tuple[ModelEntry, ...]:
    try:
        return tuple(source.entries())
    except Exception:  # the bug of the plugin that brought the source; others are listed without it
        logger.exception("model source %r failed to list its models", source.name)
        return ()
