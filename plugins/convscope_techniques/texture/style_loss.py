"""How far a picture is from one picture's content and others' style."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from convscope_sdk.network import Network
from convscope_techniques.texture.colours import mean_colour
from convscope_techniques.texture.extractor import Extractor
from convscope_techniques.texture.gram import content_factor, variation
from convscope_techniques.texture.jitter import Jitter, Offset
from convscope_techniques.texture.optimised import by_layer
from convscope_techniques.texture.style import Style
from convscope_techniques.texture.style_params import StyleTransferParams

__all__ = ["StyleLoss"]

_BYTE = 255
_EDGES = (2, 3)


class StyleLoss:
    """An objective: weighted terms "content <layer>", "style <layer>" and "total_variation".

    Args:
        network: Whose layers are meant.
        params: Layers, weights and how they are read.
        content: (1, 3, H, W) the picture whose features are kept.
        styles: (1, 3, h, w) the pictures whose Gram matrices are matched, at the size in which they are to be seen.
        shares: One for each style; they sum to 1.
        jitter: Where the picture is seen from, step by step.

    Attributes:
        extract: Gives features at all layers.
        style: The Gram matrices.

    Raises:
        InvalidParams: there are more or fewer `layer_weights` than style layers.
        UnknownName, NotApplicable: a layer does not exist, or has no maps.
    """

    def __init__(
        self,
        network: Network,
        params: StyleTransferParams,
        content: Tensor,
        styles: Sequence[Tensor],
        shares: Sequence[float],
        *,
        jitter: Jitter,
    ) -> None:
        content_names, style_names = params.content_names(network), params.style_names(network)
        weights = by_layer(style_names, params.layer_weights, "layer_weights")
        self.extract = Extractor(
            network,
            list(dict.fromkeys([*content_names, *style_names])),
            pooling=params.pooling,
            scale=_BYTE * sum(network.spec.std) / len(network.spec.std) if params.caffe_scale else 1.0,
            centre=torch.stack([share * mean_colour(s) for s, share in zip(styles, shares, strict=True)]).sum(0),
        )
        weighted = {layer: params.style_weight * weight for layer, weight in weights.items()}
        self.style = Style.of(self.extract, styles, shares, weighted, params.convention)
        self._params, self._jitter, self._content = params, jitter, content
        self._kept: dict[Offset, dict[str, Tensor]] = {}
        self._content_weights = {
            layer: params.content_weight / len(content_names) * content_factor(params.convention, features)
            for layer, features in self._features_kept(content_names, (0, 0)).items()
        }

    def __call__(self, pixels: Tensor) -> dict[str, Tensor]:
        """The terms for pixels (1, 3, H, W)."""
        offset = self._jitter.next()
        features = self.extract(pixels.roll(offset, _EDGES) if any(offset) else pixels)
        terms = {
            f"content {layer}": self._content_weights[layer] * mse_loss(features[layer], kept)
            for layer, kept in self._features_kept(self._content_weights, offset).items()
        }
        terms |= {f"style {layer}": loss for layer, loss in self.style.losses(features).items()}
        if self._params.tv_weight:
            scale = _BYTE if self._params.caffe_scale else 1
            terms["total_variation"] = self._params.tv_weight * variation(self._params.convention, scale * pixels)
        return terms

    def _features_kept(self, layers: Collection[str], offset: Offset) -> dict[str, Tensor]:
        """The content's features as seen from an offset, computed once."""
        if offset not in self._kept:
            with torch.no_grad():
                features = self.extract(self._content.roll(offset, _EDGES))
            self._kept[offset] = {layer: features[layer] for layer in layers}
        return self._kept[offset]
