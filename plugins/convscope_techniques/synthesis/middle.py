"""The layer to dream at where nobody says: a block in the middle of the network."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from convscope_sdk.errors import NotApplicable
from convscope_sdk.network import Network
from convscope_techniques.layout import has_maps

__all__ = ["middle_layer"]

_DEPTH = 0.6  # GoogLeNet's inception4c, the notebook's choice, is there
_FEW = 3
_POINTWISE_KINDS = ("Conv", "Norm", "Dropout")


def middle_layer(network: Network) -> str:
    """Name of the block at 60 % of the network's blocks, counted in their order.

    Blocks are the modules with positions in their output that one meets on walking through the network's
    `nn.Sequential`s, and that have modules inside; where there are fewer than three, as in VGG, its
    activations and poolings.

    Raises:
        NotApplicable: no layer has an output with positions.
    """
    spatial = {info.name for info in network.layers if has_maps(info)}
    met = [(name, module) for name, module in _walk(network.module, "") if name in spatial]
    blocks = [name for name, module in met if any(True for _ in module.children())]
    if len(blocks) < _FEW:
        blocks = [name for name, module in met if not any(k in type(module).__name__ for k in _POINTWISE_KINDS)]
    if not blocks:
        raise NotApplicable("no block of this network has an output with positions; name a layer or a target")
    return blocks[int(_DEPTH * len(blocks))]


def _walk(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential):
            yield from _walk(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
