"""What the author of a technique imports.

    from convscope_sdk import Heatmap, Params, Run, technique

Importing it is quick and needs no torch; `Network` and `hookimpl` are loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convscope_sdk.encoding import ArtifactEncoder
from convscope_sdk.errors import (
    DiskFull,
    FieldViolation,
    InvalidImage,
    InvalidImageSet,
    InvalidParams,
    InvalidTarget,
    NotApplicable,
    OutOfMemory,
    TechniqueError,
    UnknownName,
)
from convscope_sdk.events import (
    Checkpoint,
    Event,
    Heatmap,
    Image,
    ImageGrid,
    Note,
    Predictions,
    Preview,
    Progress,
    Result,
    Scores,
    Table,
    Tensor,
    Text,
    TrainedModel,
)
from convscope_sdk.models import Architecture, ModelEntry, ModelSource, ModelSpec
from convscope_sdk.params import ImageParams, Params
from convscope_sdk.run import Run
from convscope_sdk.state import State
from convscope_sdk.target import LayerRef, Target, TargetField, target_field
from convscope_sdk.technique import Technique, technique
from convscope_sdk.together import together
from convscope_sdk.training import TrainingParams

if TYPE_CHECKING:
    from convscope_sdk.hookspecs import hookimpl
    from convscope_sdk.network import Network

__all__ = [
    "Architecture",
    "ArtifactEncoder",
    "Checkpoint",
    "DiskFull",
    "Event",
    "FieldViolation",
    "Heatmap",
    "Image",
    "ImageGrid",
    "ImageParams",
    "InvalidImage",
    "InvalidImageSet",
    "InvalidParams",
    "InvalidTarget",
    "LayerRef",
    "ModelEntry",
    "ModelSource",
    "ModelSpec",
    "Network",
    "NotApplicable",
    "Note",
    "OutOfMemory",
    "Params",
    "Predictions",
    "Preview",
    "Progress",
    "Result",
    "Run",
    "Scores",
    "State",
    "Table",
    "Target",
    "TargetField",
    "Technique",
    "TechniqueError",
    "Tensor",
    "Text",
    "TrainedModel",
    "TrainingParams",
    "UnknownName",
    "hookimpl",
    "target_field",
    "technique",
    "together",
]


def __getattr__(name: str) -> Any:
    """What needs pluggy or torch, which a laptop need not have."""
    if name == "hookimpl":
        from convscope_sdk.hookspecs import hookimpl

        return hookimpl
    if name == "Network":
        from convscope_sdk.network import Network

        return Network
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
