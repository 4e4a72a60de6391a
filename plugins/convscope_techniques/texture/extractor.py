"""Features of pictures at chosen layers, by the names that papers give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from convscope_sdk.errors import NotApplicable
from convscope_sdk.network import Network
from convscope_techniques.layout import for_convolutions
from convscope_techniques.synthesis.folded_norms import FoldedNorms
from convscope_techniques.texture.pooling import AveragePooling

__all__ = ["INPUT", "POOLING_HELP", "Extractor", "Pooling", "vgg_layers"]

Pooling = Literal["average", "max"]
POOLING_HELP = "What the network's max poolings do: `average` as Gatys et al. prefer, or `max` as it was trained."

INPUT = "input"
"""The picture itself as a layer: the 5 by 5 neighbourhood of each of its pixels less a mean colour, (B, 75, H, W)."""

_NEIGHBOURHOOD = 5
_VGG_NAME = re.compile(r"(?:conv|relu)[1-5]_\d|pool[1-5]")
_MAP_NDIM = 4


class Extractor:
    """Features of pictures at layers of a network; layers of VGG also go by their papers' names: "relu4_2".

    Args:
        network: Whose layers they are.
        layers: Names, aliases, names of VGG, or `INPUT`.
        pooling: What max pooling does meanwhile.
        scale: Features are multiplied with it.
        centre: (1, 3, 1, 1) the mean colour that `INPUT` is less.

    Attributes:
        replaced: Max poolings that became averages in the last pass.

    Raises:
        UnknownName: no such layer.
        NotApplicable: a VGG name, but the network is no chain of convolutions, activations and poolings.
    """

    def __init__(
        self,
        network: Network,
        layers: Sequence[str],
        *,
        pooling: Pooling = "average",
        scale: float = 1.0,
        centre: Tensor | float = 0.5,
    ) -> None:
        self.replaced = 0
        self._network, self._pooling, self._scale, self._centre = network, pooling, scale, centre
        named = vgg_layers(network.module)
        self._names = {layer: _resolved(network, layer, named) for layer in layers if layer != INPUT}
        self._with_input = INPUT in layers

    def __call__(self, pixels: Tensor) -> dict[str, Tensor]:
        """(B, C, h, w) features by the layers' names as given; differentiable.

        Raises:
            NotApplicable: a layer's output has no positions.
        """
        mode = AveragePooling() if self._pooling == "average" else nullcontext()
        with FoldedNorms(), mode:
            found = self._network.activations(for_convolutions(pixels), *self._names.values())
        self.replaced = getattr(mode, "replaced", 0)
        features = {layer: self._scaled(_maps(name, found[name])) for layer, name in self._names.items()}
        return {INPUT: self._neighbourhoods(pixels), **features} if self._with_input else features

    def _scaled(self, features: Tensor) -> Tensor:
        return features if self._scale == 1 else self._scale * features

    def _neighbourhoods(self, pixels: Tensor) -> Tensor:
        reach = _NEIGHBOURHOOD // 2
        seen = functional.pad(self._scaled(pixels - self._centre), (reach,) * 4, mode="reflect")
        return functional.unfold(seen, _NEIGHBOURHOOD).view(len(pixels), -1, *pixels.shape[-2:])


def vgg_layers(module: nn.Module) -> Mapping[str, str]:
    """The papers' names of VGG's layers, "conv1_1", "relu1_1", "pool1", …, and the modules that they are.

    For a module whose `features` are a plain chain of convolutions, norms, activations and poolings; else empty.
    """
    chain = getattr(module, "features", None)
    if not isinstance(chain, nn.Sequential) or any(True for part in chain for _ in part.children()):
        return {}
    names, block, count = {}, 1, 0
    for key, part in chain.named_children():
        if isinstance(part, nn.Conv2d):
            count += 1
            names[f"conv{block}_{count}"] = f"features.{key}"
        elif isinstance(part, nn.ReLU):
            names[f"relu{block}_{count}"] = f"features.{key}"
        elif isinstance(part, nn.MaxPool2d):
            names[f"pool{block}"] = f"features.{key}"
            block, count = block + 1, 0
    return names


def _resolved(network: Network, layer: str, named: Mapping[str, str]) -> str:
    if layer in named:
        return named[layer]
    if _VGG_NAME.fullmatch(layer) and layer not in {info.name for info in network.layers}:
        has = f"it has {', '.join(named)}" if named else "it is no VGG; leave out the preset, or name layers of its own"
        raise NotApplicable(f"{network.name} has no layer {layer} of VGG: {has}")
    return network.layer(layer).name


def _maps(name: str, output: Tensor) -> Tensor:
    if output.ndim != _MAP_NDIM:
        shape = "x".join(str(edge) for edge in output.shape[1:])
        raise NotApplicable(f"the output of {name!r} is {shape}, no maps; name a layer of convolutions")
    return output
