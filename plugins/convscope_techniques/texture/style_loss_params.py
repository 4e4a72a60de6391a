"""What content and style are, and how they are weighed: parameters of everything that paints in a style."""

from __future__ import annotations

from pydantic import Field

from convscope_sdk.network import Network
from convscope_sdk.params import Params
from convscope_sdk.target import LayerRef
from convscope_techniques.texture.depths import eighth_layer, widest_layers
from convscope_techniques.texture.extractor import INPUT, POOLING_HELP, Pooling
from convscope_techniques.texture.gram import CONVENTION_HELP, Convention

__all__ = ["StyleLossParams"]


class StyleLossParams(Params):
    """Layers, weights, and the convention by which weights are read."""

    content_layers: tuple[LayerRef, ...] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Layers whose features are kept: names, or VGG's such as `relu4_2`. Where absent the widest "
        "layer at an eighth of the resolution.",
    )
    style_layers: tuple[LayerRef, ...] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Layers whose Gram matrices are matched: names, VGG's, or `input`, the 5x5 neighbourhoods of the "
        "picture's own pixels. Where absent `input`, and at each resolution the layer with most maps.",
    )
    layer_weights: tuple[float, ...] | None = Field(
        None, min_length=1, max_length=64, description="One for each style layer; equal, with sum 1, where absent."
    )
    content_weight: float = Field(1.0, ge=0, le=1e12, description="Weight of the content; shared by its layers.")
    style_weight: float = Field(100.0, ge=0, le=1e12, description="Weight of the style.")
    tv_weight: float = Field(
        100.0, ge=0, le=1e12, description="Weight of the differences of neighbouring pixels: against grain."
    )
    convention: Convention = Field("relative", description=CONVENTION_HELP)
    caffe_scale: bool = Field(
        False,
        description="Read weights as for Caffe's VGG, which sees pixels from 0 to 255: features count 255 times the "
        "network's standard deviation of pixels, differences of pixels 255 times.",
    )
    pooling: Pooling = Field("average", description=POOLING_HELP)

    def content_names(self, network: Network) -> list[str]:
        """The content layers.

        Raises:
            NotApplicable: none is named, and the network has no maps.
        """
        return list(self.content_layers or (eighth_layer(network),))

    def style_names(self, network: Network) -> list[str]:
        """The style layers.

        Raises:
            NotApplicable: none is named, and the network has no maps.
        """
        return list(self.style_layers or (INPUT, *widest_layers(network)))
