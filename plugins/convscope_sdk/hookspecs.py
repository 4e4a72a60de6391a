"""What a plugin may offer, as pluggy hooks.

An entry point in the group `convscope.v1` names either one `Technique`, or a module or object with functions
marked by `hookimpl`:

    from convscope_sdk.hookspecs import hookimpl

    @hookimpl
    def convscope_techniques():
        return [my_technique, my_other_technique]
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from convscope_sdk.encoding import ArtifactEncoder
    from convscope_sdk.models import Architecture
    from convscope_sdk.observed import ObservedEvent, ObservedRun
    from convscope_sdk.technique import Technique

__all__ = ["ENTRY_POINT_GROUP", "PROJECT", "hookimpl", "hookspec"]

PROJECT = "convscope"
ENTRY_POINT_GROUP = "convscope.v1"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def convscope_techniques() -> Iterable[Technique[Any]]:  # type: ignore[empty-body]  # a specification has no body
    """Techniques to offer."""


@hookspec
def convscope_model_sources() -> Iterable[Any]:  # type: ignore[empty-body]  # a specification has no body
    """Model sources to offer: objects with the interface of `convscope_sdk.models.ModelSource`."""


@hookspec
def convscope_image_set_sources() -> Iterable[Any]:  # type: ignore[empty-body]  # a specification has no body
    """Image set sources to offer: objects with the interface of `convscope_sdk.image_sets.spec.ImageSetSource`."""


@hookspec
def convscope_architectures() -> Iterable[Architecture]:  # type: ignore[empty-body]  # a specification has no body
    """Architectures to offer, which a model.toml names "convscope:ID"."""


@hookspec
def convscope_artifact_encoders() -> Iterable[ArtifactEncoder]:  # type: ignore[empty-body]  # a specification has no body
    """Formats to offer, in which a run's results can be asked for."""


@hookspec
def convscope_run_started(run: ObservedRun) -> None:
    """A run has begun on a device; again where it had to start anew. Observers run in a process of their own."""


@hookspec
def convscope_run_event(run: ObservedRun, event: ObservedEvent) -> None:
    """Something happened to a run.

    What comes faster than the observers take it is dropped, previews and progress first.
    """


@hookspec
def convscope_run_finished(run: ObservedRun, event: ObservedEvent) -> None:
    """A run has ended; `event` is "succeeded", "failed" or "cancelled"."""
