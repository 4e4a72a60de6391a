"""A device with everything that runs need on it: techniques, model registry, loaded models."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from convscope_sdk.loader import Loaded, Loader, Plugins
from convscope_server.engine.messages import Hello, PluginInfo, TechniqueInfo
from convscope_server.models.cache import ModelCache, default_budget
from convscope_server.models.registry import ModelRegistry, builtin_sources

if TYPE_CHECKING:
    from convscope_sdk.technique import Technique
    from convscope_server.engine.options import WorkerOptions

__all__ = ["Workshop", "available_devices"]

logger = logging.getLogger(__name__)


def available_devices() -> tuple[str, ...]:
    """Every device that can have a worker: all CUDA devices, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    if torch.backends.mps.is_available():
        return ("mps",)
    return ("cpu",)


class Workshop:
    """Sets a device up: plugins found and loaded, model sources asked, favourite models warm.

    Attributes:
        device: The device.
        options: How it was set up.
        techniques: What can run here, by id.
        cache: The models on the device.
    """

    def __init__(self, options: WorkerOptions, device: str = "", *, techniques: Sequence[Technique[Any]] = ()) -> None:
        self.options = options
        self._all_devices = available_devices()
        self.device = torch.device(device or self._all_devices[0])
        self._plugins = _load_plugins(options, techniques)
        self.techniques: Mapping[str, Loaded] = self._plugins.techniques
        models_dir = Path(options.models_dir) if options.models_dir else None
        sources = [*builtin_sources(models_dir, allow_code=options.allow_code), *self._plugins.sources]
        self.registry = ModelRegistry(sources)
        self._budget = options.model_budget_bytes or default_budget(str(self.device))
        self.cache = ModelCache(self.registry, str(self.device), self._budget)

    def warm(self) -> None:
        """Load the favourite models; one that cannot be had is logged, not fatal."""
        for name in self.options.warm_models:
            try:
                self.cache.load(name)
            except Exception:  # the model's own bug or absence; the server is useful without it
                logger.exception("could not warm %s", name)

    def hello(self, pid: int) -> Hello:
        """What the device offers."""
        return Hello(
            device=str(self.device),
            pid=pid,
            techniques=tuple(_technique_info(loaded) for loaded in self.techniques.values()),
            plugins=tuple(
                PluginInfo(r.name, r.package, r.version, r.reason, tuple(r.techniques), r.import_seconds)
                for r in self._plugins.reports
            ),
            models=tuple(self.registry.entries()),
            model_budget_bytes=self._budget,
            all_devices=self._all_devices,
        )


def _load_plugins(options: WorkerOptions, techniques: Sequence[Technique[Any]]) -> Plugins:
    loader = Loader(strict=options.strict)
    loader.load_entry_points()
    for path in options.plugin_files:
        loader.load_file(Path(path))
    for technique in techniques:
        loader.load_object(technique.id, technique)
    return loader.plugins


def _technique_info(loaded: Loaded) -> TechniqueInfo:
    technique = loaded.technique
    return TechniqueInfo(
        id=technique.id,
        summary=technique.summary,
        params_schema=json.dumps(technique.params.json_schema(), sort_keys=True),
        needs=tuple(sorted(technique.needs)),
        cites=technique.cites,
        package=loaded.package,
        version=loaded.version,
        extra_images=dict(technique.extra_images),
        stall_seconds=technique.stall_seconds,
    )
