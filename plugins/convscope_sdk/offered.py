"""Asks one plugin for all that it offers, and looks at every piece."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from typing import Any

import pluggy

from convscope_sdk import hookspecs
from convscope_sdk.encoding import HOST_MEDIA_TYPES, ArtifactEncoder
from convscope_sdk.hookspecs import PROJECT
from convscope_sdk.image_sets.spec import ImageSetSource
from convscope_sdk.models import Architecture, ModelSource
from convscope_sdk.offer import UNNAMED, Offer, PluginError
from convscope_sdk.params import Params
from convscope_sdk.technique import ID, NEEDS, Technique

__all__ = ["LONGEST_REASON", "offered"]

LONGEST_REASON = 1000
_OBSERVING = ("convscope_run_started", "convscope_run_event", "convscope_run_finished")
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,63}")


def offered(name: str, plugin: object, also: Sequence[Technique[Any]], *, builtin: bool) -> Offer:
    """Everything that the plugin offers, checked; its report is still to come."""
    sources: list[Any] = []
    image_sets: list[Any] = []
    architectures: list[Any] = []
    encoders: list[Any] = []
    observer = None
    if isinstance(plugin, Technique):
        techniques: list[Any] = [plugin]
    else:
        manager = _managed(name, plugin, optional=bool(also))
        techniques = _called(manager, "convscope_techniques")
        sources = _called(manager, "convscope_model_sources")
        image_sets = _called(manager, "convscope_image_set_sources")
        architectures = _called(manager, "convscope_architectures")
        encoders = _called(manager, "convscope_artifact_encoders")
        observer = manager.hook if any(getattr(manager.hook, hook).get_hookimpls() for hook in _OBSERVING) else None
        techniques += [t for t in also if not any(t is other for other in techniques)]
    for technique in techniques:
        _check_technique(technique)
    _check_sources(sources, image_sets)
    for architecture in architectures:
        _check_architecture(architecture, builtin=builtin)
    for encoder in encoders:
        _check_encoder(encoder)
    ids = [technique.id for technique in techniques]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise PluginError(f"offers {', '.join(twice)} twice; give each technique an id of its own")
    offers = (tuple(techniques), tuple(sources), tuple(image_sets), tuple(architectures))
    return Offer(UNNAMED, *offers, observer=observer, encoders=tuple(encoders))


def _check_sources(models: Sequence[Any], image_sets: Sequence[Any]) -> None:
    for hook, kind, sources in (
        ("convscope_model_sources", ModelSource, models),
        ("convscope_image_set_sources", ImageSetSource, image_sets),
    ):
        for source in sources:
            if not isinstance(source, kind):
                raise PluginError(f"hook {hook} gave {source!r}, without name, entries() and spec()")


def _managed(name: str, plugin: object, *, optional: bool) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=name)
    manager.check_pending()  # refuses hooks that nobody calls: most are misspelt
    if not manager.get_hookcallers(plugin) and not optional:
        raise PluginError(
            f"offers nothing: {plugin!r} is no Technique and has no function marked with @hookimpl, "
            f"such as convscope_techniques"
        )
    return manager


def _called(manager: pluggy.PluginManager, hook: str) -> list[Any]:
    caller: pluggy.HookCaller = getattr(manager.hook, hook)
    try:
        found = [list(offered) for offered in caller()]
    except Exception as error:  # the plugin's bug: its hook raises, or gives nothing that can be walked through
        message = f"hook {hook} should give a list; {type(error).__name__}: {error}"
        raise PluginError(message[:LONGEST_REASON]) from error
    if len(found) < sum(not (impl.wrapper or impl.hookwrapper) for impl in caller.get_hookimpls()):
        raise PluginError(f"hook {hook} gave None; it should return a list")
    return [item for items in found for item in items]


def _check_technique(technique: Any) -> None:
    """Again what `@technique` checks: nobody is obliged to make his with it."""
    if not isinstance(technique, Technique):
        raise PluginError(f"hook convscope_techniques gave {technique!r}, which is no Technique; use @technique")
    identifier = technique.id
    if not ID.fullmatch(str(identifier)):
        raise PluginError(f"a technique id is lower-case words, optionally vendor.name, not {identifier!r}")
    if unknown := sorted(set(technique.needs) - NEEDS.keys()):
        raise PluginError(f"technique {identifier!r} has unknown needs {unknown}; there are {', '.join(NEEDS)}")
    if not inspect.isgeneratorfunction(technique.function):
        raise PluginError(f"technique {identifier!r}: its function is no generator function")
    params: Any = technique.params
    if not (isinstance(params, type) and issubclass(params, Params)):
        raise PluginError(f"technique {identifier!r}: {params!r} is no subclass of Params")
    try:
        json.dumps(technique.params.json_schema())
    except Exception as error:  # the plugin's bug: a field's type or default that has no JSON form
        raise PluginError(f"technique {identifier!r}: its parameters give no JSON Schema: {error}") from error


def _check_architecture(architecture: Any, *, builtin: bool) -> None:
    if not isinstance(architecture, Architecture):
        raise PluginError(f"hook convscope_architectures gave {architecture!r}, which is no Architecture")
    if not ID.fullmatch(architecture.id) or ("." not in architecture.id) != builtin:
        raise PluginError(f"an architecture's id is lower-case words, vendor.name, not {architecture.id!r}")


def _check_encoder(encoder: Any) -> None:
    if not isinstance(encoder, ArtifactEncoder):
        raise PluginError(f"hook convscope_artifact_encoders gave {encoder!r}, which is no ArtifactEncoder")
    media_type = encoder.media_type
    if not _MEDIA_TYPE.fullmatch(str(media_type)):
        raise PluginError(f"a media type is of the form type/subtype in lower case, not {media_type!r}")
    if media_type in HOST_MEDIA_TYPES:
        raise PluginError(f"the host writes {media_type} by itself; an encoder has a media type of its own")
    if encoder.kind not in HOST_MEDIA_TYPES.values():
        raise PluginError(f"the encoder of {media_type} takes {encoder.kind!r}; results are image, tensor, table, text")
    if not callable(encoder.encode):
        raise PluginError(f"the encoder of {media_type} has {encoder.encode!r} to encode with, which nobody can call")
