"""How pictures and layers' outputs are laid out."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope_sdk.layers import LayerInfo

__all__ = ["for_convolutions", "has_maps", "is_channels_last"]


def for_convolutions(pixels: Tensor) -> Tensor:
    """The same (B, 3, H, W) pixels, on a CPU laid out so that convolutions take less time; differentiable.

    What follows keeps the layout: it is the depthwise convolutions and the normalisations that gain most.
    """
    return pixels.contiguous(memory_format=torch.channels_last) if pixels.device.type == "cpu" else pixels


def has_maps(layer: LayerInfo) -> bool:
    """Whether the output is (C, H, W) maps of more than one position, and not tokens laid out (H, W, C).

    Layers are probed with a square picture: equal first edges beside another last one are tokens', as within the
    blocks of ConvNeXt and Swin.
    """
    return layer.is_spatial and not is_channels_last(layer)


def is_channels_last(layer: LayerInfo) -> bool:
    """Whether the output is (H, W, C): places in rows and columns, each with its channels."""
    if not layer.is_spatial:
        return False
    first, second, third = layer.output_shape
    return first == second != third
