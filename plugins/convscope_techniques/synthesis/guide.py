"""What another picture shows, as something to see more of (google/deepdream's guided dreams)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.network import Network
from convscope_techniques.layout import is_channels_last
from convscope_techniques.synthesis.octaves import MIN_EDGE, resized

__all__ = ["Guide", "best_matches"]

_TOKENS_NDIM = 3
_MAP_NDIM = 4


@dataclass(frozen=True, slots=True)
class Guide:
    """A picture's features at layers, a vector for each place.

    Attributes:
        network: Whose layers they are.
        features: (C, M) by layer, M places of the guide.
    """

    network: Network
    features: Mapping[str, Tensor]

    @classmethod
    def of(cls, network: Network, picture: Tensor, layers: Sequence[str]) -> Guide:
        """From a picture (1, 3, h, w), seen with its longer edge at the network's input size."""
        scale = network.input_size / max(picture.shape[-2:])
        height, width = (max(round(edge * scale), MIN_EDGE) for edge in picture.shape[-2:])
        with torch.no_grad():
            found = network.activations(resized(picture, (height, width)), *layers)
        return cls(network, {layer: _places(network, layer, found[layer])[0] for layer in found})

    @property
    def is_rectified(self) -> bool:
        """Whether no feature is negative, as in GoogLeNet's inception layers, for which this was made."""
        return all(bool((vectors >= 0).all()) for vectors in self.features.values())

    def scores(self, pixels: Tensor, layers: Sequence[str]) -> Tensor:
        """(T, B) how well each picture's places match the guide's at each layer; see `best_matches`.

        Raises:
            InvalidParams: the layer's channels depend on the picture's size, so that the two cannot be compared.
        """
        found = self.network.activations(pixels, *layers)
        return torch.stack([self._score(layer, _places(self.network, layer, found[layer])) for layer in layers])

    def _score(self, layer: str, places: Tensor) -> Tensor:
        wanted = self.features[layer]
        if places.shape[1] != len(wanted):
            text = f"{layer!r} has {places.shape[1]} channels here and {len(wanted)} for the guide; take another layer"
            raise InvalidParams(text, violations=[FieldViolation("params.layer", text)])
        return best_matches(places, wanted)


def best_matches(places: Tensor, wanted: Tensor) -> Tensor:
    """(B,) the sum over places p of max over q of a_p·b_q: the gradient at p is the guide's vector that fits best.

    Args:
        places: (B, C, N) vectors a.
        wanted: (C, M) vectors b of the guide.
    """
    return (places.mT @ wanted).amax(2).sum(1)


def _places(network: Network, layer: str, features: Tensor) -> Tensor:
    """(B, C, N) of maps (B, C, H, W), maps with channels last, tokens (B, N, C) or vectors (B, C)."""
    if features.ndim == _TOKENS_NDIM:
        return features.mT
    if features.ndim == _MAP_NDIM and is_channels_last(network.layer(layer)):
        return features.flatten(1, 2).mT
    return features.flatten(2) if features.ndim >= _MAP_NDIM else features[..., None]
