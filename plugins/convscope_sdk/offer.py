"""What one plugin offers, and whose an id is that several of them claim."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convscope_sdk.encoding import ArtifactEncoder
from convscope_sdk.image_sets.spec import ImageSetSource
from convscope_sdk.models import Architecture, ModelSource
from convscope_sdk.technique import Technique

__all__ = ["BUILTIN_PACKAGE", "UNNAMED", "Offer", "PluginError", "PluginReport", "clash", "is_replaced", "owner_of"]

BUILTIN_PACKAGE = "convscope"
"""The distribution whose technique ids nobody else can take."""


class PluginError(Exception):
    """A plugin cannot be used; the text says which, why, and what its author should change."""


@dataclass(frozen=True, slots=True)
class PluginReport:
    """What became of one plugin.

    Attributes:
        name: Of its entry point, or its file.
        package, version: Of the distribution that brought it; empty where there is none.
        ok: Whether anything of it can be used.
        reason: Why it, or one of its techniques, cannot; empty where all it offers can.
        techniques: Ids that can be used.
        import_seconds: What its import took.
        warnings: What it uses that will go.
        denied: Whether it was not looked at, because the settings say so.
    """

    name: str
    package: str
    version: str
    ok: bool
    reason: str = ""
    techniques: tuple[str, ...] = ()
    import_seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    denied: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """What one plugin wants to contribute, and its report before clashes with others are known.

    `observer` has the hooks of run observers, where the plugin has any.
    `given` is set where whoever started the host named the plugin, as a file or an object; others were found installed.
    `revision` is that of its code, empty where it was given as an object.
    """

    report: PluginReport
    techniques: tuple[Technique[Any], ...] = ()
    sources: tuple[ModelSource, ...] = ()
    image_set_sources: tuple[ImageSetSource, ...] = ()
    architectures: tuple[Architecture, ...] = ()
    given: bool = False
    observer: Any = None
    encoders: tuple[ArtifactEncoder, ...] = ()
    revision: str = ""


UNNAMED = PluginReport("", "", "", ok=True)


def owner_of(offers: Sequence[Offer]) -> Offer | None:
    """Whose an id is that all these claim: a built-in's, else that of the one given by name, else nobody's."""
    if len(offers) == 1:
        return offers[0]
    builtin = [offer for offer in offers if offer.report.package == BUILTIN_PACKAGE]
    given = [offer for offer in offers if offer.given]
    first = builtin or given
    return first[0] if len(first) == 1 else None


def clash(identifier: str, offer: Offer, offers: Sequence[Offer]) -> str:
    """Why `offer` does not get the id that all these claim, and what to do."""
    owner = owner_of(offers)
    if owner is not None and owner.report.package == BUILTIN_PACKAGE:
        return f"technique {identifier!r} is built in; rename it, for example {_vendor(offer)}.{identifier}"
    if owner is not None:
        return f"technique {identifier!r} is taken from {owner.report.name!r}, which was given by name and goes first"
    others = [other for other in offers if other is not offer]
    names = " and ".join(f"plugin {o.report.name!r} of {o.report.package or 'a file'}" for o in others)
    return f"technique {identifier!r} is also claimed by {names}, so it is loaded for neither; uninstall one"


def is_replaced(offers: Sequence[Offer]) -> bool:
    """Whether an id that all these claim goes to one that was given by name: that is what whoever gave it wanted."""
    owner = owner_of(offers)
    return owner is not None and owner.given


def _vendor(offer: Offer) -> str:
    return re.sub(r"\W+", "_", offer.report.package or "mine").lower()
