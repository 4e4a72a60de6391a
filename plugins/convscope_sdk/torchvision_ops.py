"""Makes `import torchvision` work beside a torch that its C operators were not built for.

PyPI's torchvision wheels carry CUDA operators; beside a CPU-only torch they do not load, and the import dies
with "operator torchvision::nms does not exist". Everybody who pairs the two meets it. Declaring the two schemas
that the import asks for is enough for models, transforms and feature extraction; detection's own operators
stay unavailable.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import torch

__all__ = ["ensure_torchvision"]

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def ensure_torchvision() -> None:
    """Call before importing torchvision, or anything that does, such as timm. Does nothing where it works already.

    Raises:
        ModuleNotFoundError: torchvision is not installed.
    """
    if hasattr(torch.ops.torchvision, "nms"):
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torchvision is not installed; pip install 'convscope[server]'")
    for library in sorted(Path(spec.origin).parent.glob("_C*")):
        try:
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]  # torch's own
        except OSError:
            continue  # built against another torch, or for CUDA that is not here
    if not hasattr(torch.ops.torchvision, "nms"):
        declarations = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch's own
        for operator in ("nms", "qnms"):
            declarations.define(operator + _SCHEMA)  # type: ignore[no-untyped-call]  # torch's own
        _keep.append(declarations)  # the operators vanish with the object that declared them


_keep: list[torch.library.Library] = []
