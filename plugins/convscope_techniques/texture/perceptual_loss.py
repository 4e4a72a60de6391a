"""How far a batch of painted pictures is from their contents and from one style."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope_sdk.network import Network
from convscope_techniques.texture.colours import mean_colour
from convscope_techniques.texture.extractor import Extractor
from convscope_techniques.texture.gram import content_factor, variation
from convscope_techniques.texture.optimised import by_layer
from convscope_techniques.texture.style import Style
from convscope_techniques.texture.style_loss_params import StyleLossParams

__all__ = ["PerceptualLoss"]

_BYTE = 255


class PerceptualLoss:
    """The terms of `StyleLoss`, in the same convention, averaged over a batch.

    Args:
        network: Whose layers are meant.
        params: Layers, weights and how they are read.
        style: (1, 3, h, w) the picture whose Gram matrices are matched.

    Raises:
        InvalidParams: there are more or fewer `layer_weights` than style layers.
        UnknownName, NotApplicable: a layer does not exist, or has no maps.
    """

    def __init__(self, network: Network, params: StyleLossParams, style: Tensor) -> None:
        self._contents, styles = params.content_names(network), params.style_names(network)
        weights = by_layer(styles, params.layer_weights, "layer_weights")
        layers = list(dict.fromkeys([*self._contents, *styles]))
        scale = _BYTE * sum(network.spec.std) / len(network.spec.std) if params.caffe_scale else 1.0
        self._extract = Extractor(network, layers, pooling=params.pooling, scale=scale, centre=mean_colour(style))
        weighted = {layer: params.style_weight * weight for layer, weight in weights.items()}
        self._style = Style.of(self._extract, [style], [1.0], weighted, params.convention)
        self._params = params

    def __call__(self, painted: Tensor, contents: Tensor) -> dict[str, Tensor]:
        """The terms "content", "style" and "total_variation" for pictures (B, 3, H, W) of contents (B, 3, H, W)."""
        with torch.no_grad():
            kept = self._extract(contents)
        features = self._extract(painted)
        params = self._params
        terms = {"content": painted.new_zeros(()), "style": painted.new_zeros(())}
        for layer in self._contents:
            factor = params.content_weight / len(self._contents) * content_factor(params.convention, kept[layer])
            terms["content"] = terms["content"] + factor * (features[layer] - kept[layer]).square().mean()
        for loss in self._style.losses(features).values():
            terms["style"] = terms["style"] + loss
        if params.tv_weight:
            scale = _BYTE if params.caffe_scale else 1
            shared = 1 if params.convention == "relative" else len(painted)  # the others sum over all pixels
            differences = variation(params.convention, scale * painted)
            terms["total_variation"] = params.tv_weight * differences / shared
        return terms
