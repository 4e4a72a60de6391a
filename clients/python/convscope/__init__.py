"""A remote microscope for convolutional networks: ask a server for a picture, and watch it arrive.

```python
client = convscope.connect("gpu-box:8470")  # or convscope.embedded()
run = client.visualize("grad_cam", image="cat.jpg", target="top1")
for event in run:
    print(event.sequence, event.kind, event.progress)
run.result().images["overlay"].show()
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import errors
from convscope.catalog import (
    DeviceInfo,
    ImageSetInfo,
    LayerInfo,
    ModelInfo,
    PluginInfo,
    ReceptiveField,
    RunInfo,
    TechniqueInfo,
)
from convscope.client import Client, connect, embedded
from convscope.errors import (
    AlreadyExists,
    Cancelled,
    ConnectionLost,
    ConvscopeError,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    RunCancelled,
    RunFailed,
    Unauthenticated,
    Unavailable,
)
from convscope.events import Artifact, Frame, Prediction, Progress, Report, RunEvent, Update
from convscope.images import ImageLike
from convscope.result import Result
from convscope.run import Run

if TYPE_CHECKING:
    from types import ModuleType

    from convscope import aio

__all__ = [
    "AlreadyExists",
    "Artifact",
    "Cancelled",
    "Client",
    "ConnectionLost",
    "ConvscopeError",
    "DeadlineExceeded",
    "DeviceInfo",
    "FailedPrecondition",
    "FieldViolation",
    "Frame",
    "ImageLike",
    "ImageSetInfo",
    "Internal",
    "InvalidArgument",
    "LayerInfo",
    "ModelInfo",
    "NotFound",
    "PermissionDenied",
    "PluginInfo",
    "Prediction",
    "Progress",
    "ReceptiveField",
    "Report",
    "ResourceExhausted",
    "Result",
    "Run",
    "RunCancelled",
    "RunEvent",
    "RunFailed",
    "RunInfo",
    "TechniqueInfo",
    "Unauthenticated",
    "Unavailable",
    "Update",
    "aio",
    "connect",
    "embedded",
    "errors",
]


def __getattr__(name: str) -> ModuleType:
    """`convscope.aio`, when it is asked for: most programs that use threads never load asyncio."""
    if name == "aio":
        from importlib import import_module

        return import_module("convscope.aio")
    raise AttributeError(f"module 'convscope' has no attribute {name!r}")
