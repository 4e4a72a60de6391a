"""A device with everything that runs need on it: techniques, model registry, loaded models."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from convscope_sdk.choice import PluginChoice
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.folder import FolderSource
from convscope_sdk.image_sets.samples import SamplesSource
from convscope_sdk.image_sets.store import IndexStore
from convscope_sdk.loader import BUILTIN_PACKAGE, Loaded, LoadedEncoder, Loader, Plugins
from convscope_sdk.offer import PluginReport
from convscope_server.engine.messages import EncoderInfo, Hello, ImageSetInfo, PluginInfo, TechniqueInfo
from convscope_server.engine.options import own_version
from convscope_server.images.uploaded import UploadedSets
from convscope_server.models.cache import ModelCache, default_budget
from convscope_server.models.memory import default_device_memory
from convscope_server.models.registry import ModelRegistry, builtin_sources
from convscope_server.models.shelf import Shelf
from convscope_server.worker.provenance import library_versions
from convscope_server.worker.torchvision_sets import TorchvisionSets

if TYPE_CHECKING:
    from convscope_sdk.image_sets.spec import ImageSetSource
    from convscope_sdk.technique import Technique
    from convscope_server.engine.messages import RunSpec
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
        encoders: What plugins write results with, by media type.
        registry: Every model that can be asked for.
        shelf: Where models that runs train are put.
        cache: The models on the device.
        image_sets: What runs can look at, and where indexes are kept.
    """

    def __init__(self, options: WorkerOptions, device: str = "", *, techniques: Sequence[Technique[Any]] = ()) -> None:
        self.options = options
        self._all_devices = available_devices()
        self.device = torch.device(device or self._all_devices[0])
        self._plugins = _load_plugins(options, techniques)
        self.techniques: Mapping[str, Loaded] = self._plugins.techniques
        self.encoders: Mapping[str, LoadedEncoder] = self._plugins.encoders
        models_dir = Path(options.models_dir) if options.models_dir else None
        self.image_sets = _image_sets(options, self._plugins)
        self._uploaded = UploadedSets(options.content_url)
        architectures = self._plugins.architectures
        own = builtin_sources(models_dir, allow_code=options.allow_code, architectures=architectures)
        self.registry = ModelRegistry([*own, *self._plugins.sources])
        self.shelf = Shelf(models_dir, architectures=architectures, listed=self.registry.entries)
        self._budget = options.model_budget_bytes or default_budget(str(self.device))
        self.cache = ModelCache(self.registry, str(self.device), self._budget)

    def image_sets_of(self, spec: RunSpec) -> ImageSets:
        """What this run can look at: everything, and the uploaded sets that it names."""
        return self.image_sets.beside(self._uploaded.source(spec.image_sets)) if spec.image_sets else self.image_sets

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
            techniques=tuple(_technique_info(loaded) for loaded in self.techniques.values() if self._is_mine(loaded)),
            plugins=tuple(
                PluginInfo(
                    *(r.name, r.package, r.version, r.reason, tuple(r.techniques), r.import_seconds),
                    denied=r.denied,
                    observes=any(observer.plugin == r.name for observer in self._plugins.observers),
                )
                for r in self._plugins.reports
                if self._is_mine(r) and not (self.options.only_plugin and r.denied)
            ),
            models=tuple(self.registry.entries()),
            image_sets=tuple(_image_set_infos(self.image_sets)),
            encoders=tuple(
                EncoderInfo(media_type, found.encoder.kind, found.package, found.version)
                for media_type, found in self.encoders.items()
            ),
            model_budget_bytes=self._budget,
            memory_bytes=self.options.device_memory_bytes or default_device_memory(str(self.device)),
            all_devices=self._all_devices,
            version=own_version(),
        )

    def _is_mine(self, brought: Loaded | PluginReport) -> bool:
        """Whether to tell of it: a plugin's own worker has the built-ins only for the plugin's sake."""
        return not self.options.only_plugin or brought.package != BUILTIN_PACKAGE


def _image_sets(options: WorkerOptions, plugins: Plugins) -> ImageSets:
    index = Path(options.index_dir) if options.index_dir else None
    sources: list[ImageSetSource] = [SamplesSource()]
    if options.image_sets_dir:
        directory = Path(options.image_sets_dir)
        cache = index / "digests" if index else None
        sources += [FolderSource(directory, cache=cache), TorchvisionSets(directory)]
    sources += plugins.image_set_sources
    return ImageSets(sources=sources, store=IndexStore(index), max_pixels=options.max_image_pixels)


def _image_set_infos(image_sets: ImageSets) -> Iterator[ImageSetInfo]:
    for source, entry in image_sets.entries():
        yield ImageSetInfo(entry.name, source, entry.description)


def _load_plugins(options: WorkerOptions, techniques: Sequence[Technique[Any]]) -> Plugins:
    if options.only_plugin:
        choice = PluginChoice((options.only_plugin,))
    else:
        elsewhere = tuple(environment.plugin for environment in options.environments)
        choice = PluginChoice(options.allow_plugins, options.deny_plugins, elsewhere)
    loader = Loader(strict=options.strict, choice=choice)
    loader.load_entry_points()
    for path in () if options.only_plugin else options.plugin_files:
        loader.load_file(Path(path))
    for technique in techniques:
        loader.load_object(technique.id, technique)
    return loader.plugins


def _revision(loaded: Loaded) -> str:
    """Of its code and of the libraries that can change a pixel of what it makes."""
    if not loaded.revision:
        return ""
    libraries = sorted(library_versions().items())
    return hashlib.sha256(repr((loaded.revision, libraries)).encode()).hexdigest()[:16]


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
        cacheable=technique.cacheable,
        revision=_revision(loaded),
        resumable=technique.resumable,
        steers=tuple(sorted(technique.steers)),
        batchable=technique.batchable,
    )
