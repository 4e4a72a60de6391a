"""When two requests are sure to make the same picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from convscope_server.engine.engine import Catalog
from convscope_server.engine.messages import TechniqueInfo
from convscope_server.runs.run import RunRequest

__all__ = ["identity"]

_FIXED = "builtin"
_EXACT = 2.0**53  # beyond, not every whole number is a double
_BY_LIBRARY = ("timm:", "torchvision:")


def identity(request: RunRequest, catalog: Catalog) -> str:
    """The hexadecimal digest that requests share whose events are the same: same code, weights, inputs and seed.

    Who asks, how urgently and under which labels makes no difference, nor whether a default was spelled out.

    Returns:
        "" where that cannot be told: the technique leaves something behind or was given as an object, a model's source
        does not say when it changes, a folder of pictures is looked at, or a plugin writes the results.
    """
    technique = catalog.techniques.get(request.technique)
    if technique is None or not technique.cacheable or not technique.revision or request.media_types:
        return ""
    params = _with_defaults(request.params, technique)
    models = {name: _version(name, catalog) for name in _models(request, params, technique, catalog)}
    sets = _image_sets(request, params, technique, catalog)
    if sets is None or not all(models.values()):
        return ""
    code = (technique.id, technique.package, technique.version, technique.revision)
    asked = (request.model, models, params, request.seed, request.inputs, sets, request.previews)
    everything = (code, *asked, *request.updates)
    return hashlib.sha256(msgspec.msgpack.encode(everything, order="sorted")).hexdigest()


def _with_defaults(params: Mapping[str, Any], technique: TechniqueInfo) -> dict[str, Any]:
    properties = json.loads(technique.params_schema).get("properties", {})
    defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    return {name: _plain(value) for name, value in {**defaults, **params}.items()}


def _plain(value: Any) -> Any:
    """Whole numbers as integers, however they were written."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) < _EXACT
    return int(value) if whole else value


def _models(request: RunRequest, params: Mapping[str, Any], technique: TechniqueInfo, catalog: Catalog) -> set[str]:
    """Every model that the run can come to look at."""
    if "generator" in technique.needs:  # its facts may lead to any other
        return {request.model, *catalog.models}
    named = {word for word in _words(params) if word in catalog.models or word.startswith(_BY_LIBRARY)}
    return {request.model, *named}


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _words(item)
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)


def _version(name: str, catalog: Catalog) -> str:
    """Empty where it is not known; the versions of libraries are part of the technique's revision."""
    if name in catalog.models:
        return catalog.models[name].version
    return name if name.startswith(_BY_LIBRARY) else ""


def _image_sets(
    request: RunRequest, params: Mapping[str, Any], technique: TechniqueInfo, catalog: Catalog
) -> dict[str, str] | None:
    """The sets that it looks at, by name; None where one of them may change unseen."""
    if "image_set" not in technique.needs:
        return {}
    named = {word for word in _words(params) if word in catalog.image_sets or word in request.image_sets}
    if any(name not in request.image_sets and catalog.image_sets[name].source != _FIXED for name in named):
        return None
    return {name: request.image_sets.get(name, name) for name in named}
