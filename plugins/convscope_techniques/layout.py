"""How a layer's output is laid out."""

from __future__ import annotations

from convscope_sdk.layers import LayerInfo

__all__ = ["has_maps", "is_channels_last"]


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
