"""How a layer's output is laid out."""

from __future__ import annotations

from convscope_sdk.layers import LayerInfo

__all__ = ["has_maps"]


def has_maps(layer: LayerInfo) -> bool:
    """Whether the output is (C, H, W) maps of more than one position, and not tokens laid out (H, W, C).

    Layers are probed with a square picture: equal first edges beside another last one are tokens', as within the
    blocks of ConvNeXt and Swin.
    """
    if not layer.is_spatial:
        return False
    first, second, third = layer.output_shape
    return not first == second != third
