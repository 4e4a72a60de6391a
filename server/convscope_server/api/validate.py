"""A request for a run, checked against the catalog and turned into one that can be stored."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from convscope.v1 import run_pb2
from convscope.v1 import visualization_service_pb2 as pb
from convscope_sdk.encoding import HOST_MEDIA_TYPES
from convscope_sdk.errors import InvalidImage, near_names
from convscope_sdk.images import check_header
from convscope_server.access.principal import acting
from convscope_server.api import fields
from convscope_server.api.convert import params_of
from convscope_server.api.holdings import Holdings
from convscope_server.api.params import check_params
from convscope_server.api.violations import Violations
from convscope_server.engine.between_steps import Update
from convscope_server.engine.engine import Catalog, Engine
from convscope_server.engine.messages import TechniqueInfo
from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore
from convscope_server.images.sets import ImageSetService
from convscope_server.runs.run import RunRequest

__all__ = ["Validator", "find_technique", "known_model"]

_LATE = 2**62  # a step that takes as many bytes as any


@dataclass(frozen=True, slots=True)
class Validator:
    """Turns what a client asks for into a `RunRequest`, or refuses it with everything that is wrong with it.

    Attributes:
        engine: Whose catalog counts.
        content: Where pictures are kept.
        holdings: Whose they are.
        image_sets: Which sets of pictures there are.
        max_image_pixels: Larger pictures are refused before they are decoded.
    """

    engine: Engine
    content: ContentStore
    holdings: Holdings
    image_sets: ImageSetService
    max_image_pixels: int = 50_000_000

    async def run_request(self, request: run_pb2.VisualizeRequest, *, watched: bool) -> RunRequest:
        """The request as it is stored, its pictures by digest in the content store.

        Args:
            request: As it came.
            watched: Whether the caller stays to watch, which decides the default of `on_disconnect`.

        Raises:
            RequestError: INVALID_ARGUMENT with every field at fault; NOT_FOUND for a technique, model or digest;
                FAILED_PRECONDITION for a technique whose plugin is broken.
        """
        violations = Violations()
        fields.check_form(request, violations)
        violations.refuse_any()
        technique = find_technique(request.technique, self.engine.catalog)
        await known_model(request.model, self.engine)
        check_params(params_of(request.params), json.loads(technique.params_schema), violations)
        _check_updates(request, technique, violations)
        _check_roles(request, technique, violations)
        _check_media_types(request, self.engine.catalog, violations)
        pictures = await self._read(request, violations)
        violations.refuse_any()
        image_sets = await self.image_sets.manifests(_image_sets(request, technique), scope=acting().scope)
        # Those named by digest too, which holds them until the run does.
        digests = {path: await self.content.put(data) for path, data in pictures.items()}
        return _stored(request, digests, image_sets, watched=watched)

    def update(self, request: pb.UpdateRunRequest, run: run_pb2.Run) -> dict[str, Any]:
        """The new values of some parameters of a run, whose record stays one that it can be repeated from.

        Raises:
            RequestError: INVALID_ARGUMENT with every field at fault; NOT_FOUND, where the technique is gone.
        """
        violations = Violations()
        found = find_technique(run.technique, self.engine.catalog)
        params = params_of(request.params)
        fields.check_params_size(request.params, "params", violations)
        _check_update(params, found, "params", violations)
        violations.refuse_any()
        fields.check_updates([*run.updates, run_pb2.Update(step=_LATE, params=request.params)], violations)
        violations.refuse_any()
        return params

    async def _read(self, request: run_pb2.VisualizeRequest, violations: Violations) -> dict[str, bytes]:
        """The pictures by path, their headers checked."""
        images = {f"extra_images.{role}": image for role, image in request.extra_images.items()}
        if request.HasField("image"):
            images["image"] = request.image
        pictures = {}
        for path, image in images.items():
            if not image.encoded:
                await self.holdings.check(image.digest)
            data = image.encoded or await self.content.get(image.digest)
            try:
                await asyncio.to_thread(check_header, data, max_pixels=self.max_image_pixels)
            except InvalidImage as refusal:
                violations.add_image(path, refusal)
            pictures[path] = data
        return pictures


def find_technique(name: str, catalog: Catalog) -> TechniqueInfo:
    """The technique with that id.

    Raises:
        RequestError: NOT_FOUND with near ids; FAILED_PRECONDITION where its plugin could not be loaded, with the
            reason that was recorded.
    """
    if name in catalog.techniques:
        return catalog.techniques[name]
    for plugin in catalog.plugins:
        if plugin.reason and name in (*plugin.techniques, plugin.name):
            raise RequestError.of(
                "FAILED_PRECONDITION",
                "TECHNIQUE_NOT_LOADED",
                f"technique {name!r} could not be loaded: plugin {plugin.name} {plugin.version}: {plugin.reason}",
                metadata={"plugin": plugin.name, "package": plugin.package, "version": plugin.version},
            )
    raise RequestError.unknown("technique", name, catalog.techniques, hint="CatalogService.ListTechniques lists them")


async def known_model(name: str, engine: Engine) -> str:
    """The name, if it is in the catalog or has the prefix of a source ("timm:resnet18"), which the worker resolves.

    On a miss the sources are asked again: a folder may have come since.

    Raises:
        RequestError: NOT_FOUND with near names.
    """
    source, colon, rest = name.partition(":")
    if name in engine.catalog.models or (source and colon and rest):
        return name
    await engine.refresh_models()
    if name in engine.catalog.models:
        return name
    hint = "CatalogService.ListModels lists them; others are named by source, such as timm:resnet18"
    raise RequestError.unknown("model", name, engine.catalog.models, hint=hint)


def _check_updates(request: run_pb2.VisualizeRequest, technique: TechniqueInfo, violations: Violations) -> None:
    """Each changes steering parameters, and none comes before the one before."""
    last = 0
    for index, update in enumerate(request.updates):
        path = f"updates[{index}]"
        violations.check(update.step >= last, f"{path}.step", f"given {update.step}; allowed: {last} or more")
        last = max(last, update.step)
        _check_update(params_of(update.params), technique, f"{path}.params", violations)


def _check_update(params: dict[str, Any], technique: TechniqueInfo, path: str, violations: Violations) -> None:
    if not violations.check(bool(params), path, "is empty: name the parameters that change"):
        return
    schema = json.loads(technique.params_schema)
    steering = {name: field for name, field in schema.get("properties", {}).items() if name in technique.steers}
    fixed = schema.get("properties", {}).keys() - steering.keys()
    for name in sorted(params.keys() & fixed):
        allowed = ", ".join(technique.steers) or "none"
        why = f"cannot change on the way in technique {technique.id} (allowed: {allowed})"
        violations.add(f"{path}.{name}", why, "PARAM_NOT_STEERING")
    others = {name: value for name, value in params.items() if name not in fixed}
    check_params(others, {**schema, "properties": steering, "required": []}, violations, path)


def _check_roles(request: run_pb2.VisualizeRequest, technique: TechniqueInfo, violations: Violations) -> None:
    violations.check(
        "image" not in technique.needs or request.HasField("image"),
        "image",
        f"is missing: technique {technique.id} looks at a picture",
        "IMAGE_MISSING",
    )
    for role in sorted(request.extra_images.keys() - technique.extra_images.keys()):
        near = near_names(role, technique.extra_images)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        there = ", ".join(sorted(technique.extra_images)) or "none"
        violations.add(
            f"extra_images.{role}",
            f"technique {technique.id} takes no such picture{hint} (allowed: {there})",
            "ROLE_UNKNOWN",
        )


def _check_media_types(request: run_pb2.VisualizeRequest, catalog: Catalog, violations: Violations) -> None:
    """Every media type is one that somebody writes, and no two are of one kind."""
    kinds = {**HOST_MEDIA_TYPES, **{name: info.kind for name, info in catalog.encoders.items()}}
    asked: dict[str, str] = {}
    for index, media_type in enumerate(request.media_types):
        path = f"media_types[{index}]"
        if kind := kinds.get(media_type):
            fine = asked.setdefault(kind, media_type) == media_type
            violations.check(fine, path, f"given {media_type} beside {asked[kind]}; allowed: one for each kind")
        else:
            there = ", ".join(kinds)
            violations.add(path, f"nobody here writes {media_type[:80]!r} (allowed: {there})", "MEDIA_TYPE_UNKNOWN")


def _image_sets(request: run_pb2.VisualizeRequest, technique: TechniqueInfo) -> list[str]:
    """The names of the image sets that are looked at: what is asked for, or the default."""
    if "image_set" not in technique.needs:
        return []
    schema = json.loads(technique.params_schema).get("properties", {}).get("image_set", {})
    name = params_of(request.params).get("image_set", schema.get("default"))
    return [name] if isinstance(name, str) else []


def _stored(
    request: run_pb2.VisualizeRequest, digests: dict[str, str], image_sets: dict[str, str], *, watched: bool
) -> RunRequest:
    extra_images = {role: digests[f"extra_images.{role}"] for role in sorted(request.extra_images)}
    return RunRequest(
        technique=request.technique,
        model=request.model,
        params=params_of(request.params),
        image=digests.get("image"),
        extra_images=extra_images,
        seed=request.seed,
        request_id=request.request_id,
        previews=fields.previews_of(request.previews),
        deadline_seconds=fields.seconds_of(request.deadline) or None,
        on_disconnect=fields.disconnect_of(request.on_disconnect, watched=watched),
        labels=dict(sorted(request.labels.items())),
        max_restarts=request.max_restarts,
        priority=fields.priority_of(request.priority),
        cache=fields.cache_of(request.cache),
        owner=acting().name,
        image_sets=image_sets,
        media_types=tuple(dict.fromkeys(request.media_types)),
        updates=tuple(Update(params_of(update.params), update.step) for update in request.updates),
    )
