"""How many pictures go through the network at once."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from convscope_sdk.network import Network

__all__ = ["BATCH_HELP", "BatchField", "activation_bytes", "batch_size"]

BATCH_HELP = (
    "Pictures in one pass through the network; where absent chosen by the memory that the layers' outputs take, and on "
    "a CPU so that a step stays near 0.2 s."
)
BatchField = Annotated[int | None, Field(ge=1, le=1024)]
"""An inner batch as a field of `Params`; the result does not depend on it."""

_CPU_PIXELS = 4 * 224 * 224
_MOST = 1024
_CPU_MEMORY = 1 << 30
_PART_OF_FREE = 0.25
_ALIVE = 4  # a forward pass alone frees what it no longer needs: a layer's input and output, and those of a branch
_FLOAT = 4


def batch_size(network: Network, image: Tensor, *, gradients: bool = False, part: float = 1.0) -> int:
    """How many pictures as large as `image`, (1, 3, H, W), one step takes, at least 1.

    Layers' outputs take at most 1 GiB on a CPU, a quarter of what is free on a CUDA device: elsewhere, or later, it may
    be another number, so a run keeps it in its state.

    Args:
        network: Whose layers' outputs are kept.
        image: One of the pictures.
        gradients: Whether every output is kept for a backward pass; it takes as long again, too.
        part: Of the pictures that a CPU is given in one step, for what is fastest with fewer.
    """
    fitting = _memory(image.device) // activation_bytes(network, image, gradients=gradients)
    if image.device.type == "cpu":
        fitting = min(fitting, int(part * _CPU_PIXELS) // (image.shape[-2:].numel() * (2 if gradients else 1)))
    return min(max(int(fitting), 1), _MOST)


def activation_bytes(network: Network, image: Tensor, *, gradients: bool) -> int:
    """Bytes of layers' outputs that are alive at once for one picture as large as `image`; an estimate, at least 1."""
    sizes = sorted((math.prod(layer.output_shape) for layer in network.layers), reverse=True)
    enlarged = image.shape[-2:].numel() / network.input_size**2
    return max(int(sum(sizes if gradients else sizes[:_ALIVE]) * enlarged * _FLOAT), 1)


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * _PART_OF_FREE)
    return _CPU_MEMORY
