"""How many pictures go through the network at once."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

__all__ = ["BATCH_HELP", "BatchField", "batch_size"]

BATCH_HELP = "Pictures in one pass through the network; chosen by the device and the picture's size where absent."
BatchField = Annotated[int | None, Field(ge=1, le=1024)]
"""An inner batch as a field of `Params`; the result does not depend on it."""

_PIXELS = {"cpu": 4 * 224 * 224, "mps": 16 * 224 * 224, "cuda": 64 * 224 * 224}


def batch_size(image: torch.Tensor, *, gradients: bool = False) -> int:
    """How many pictures as large as `image`, (1, 3, H, W), one step takes, at least 1.

    The budget keeps a step near 0.2 s on a CPU core and within 2 GB on an accelerator. A pass with `gradients`
    keeps the output of every layer, so it takes half as many.
    """
    budget = _PIXELS.get(image.device.type, _PIXELS["cpu"])
    return max(budget // (image.shape[-2:].numel() * (2 if gradients else 1)), 1)
