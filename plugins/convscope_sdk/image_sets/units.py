"""What is kept of a layer's output: one row for each picture, and for each channel its best pictures and statistics.

A channel is one of a map's (C, H, W), a token's (N, C) or a vector's (C,) as everywhere in this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope_sdk.errors import NotApplicable

__all__ = ["Best", "ChannelStatistics", "Responses", "responses"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_MAP_NDIM = 4
_TOKENS_NDIM = 3
_VECTOR_NDIM = 2


@dataclass(frozen=True, slots=True)
class Responses:
    """A layer's output for B pictures, by channel: (B, C, P) values at P positions, in rows of `columns`."""

    values: Tensor
    columns: int

    @property
    def channels(self) -> int:
        """C."""
        return self.values.shape[1]

    def means(self) -> Floats:
        """(B, C) mean over positions."""
        return _array(self.values.mean(2))

    def maxima(self) -> tuple[Floats, Ints]:
        """(B, C) greatest value over positions, and its (B, C, 2) row and column."""
        if self.values.shape[2] == 1:
            values = _array(self.values[..., 0])
            return values, np.zeros((*values.shape, 2), np.int64)
        greatest, places = self.values.max(2)
        found = places.cpu().numpy()
        return _array(greatest), np.stack([found // self.columns, found % self.columns], axis=-1)

    def at(self, places: Ints) -> tuple[Floats, Ints]:
        """(B, p, C) vectors at positions that (B, p) fractions of P in [0, 2**63) choose, and (B, p, 2) where."""
        chosen = torch.from_numpy(places % self.values.shape[2]).to(self.values.device)
        index = chosen.unsqueeze(1).expand(-1, self.channels, -1)
        vectors = _array(self.values.gather(2, index).transpose(1, 2))
        found = chosen.cpu().numpy()
        return vectors, np.stack([found // self.columns, found % self.columns], axis=-1)


def responses(activation: Tensor, layer: str) -> Responses:
    """The output of `layer`, with its batch axis, by channel.

    Raises:
        NotApplicable: it has no channels.
    """
    values = activation.detach().float()
    if values.ndim == _MAP_NDIM:
        return Responses(values.flatten(2), values.shape[3])
    if values.ndim == _TOKENS_NDIM:
        return Responses(values.transpose(1, 2), 1)
    if values.ndim == _VECTOR_NDIM:
        return Responses(values.unsqueeze(2), 1)
    raise NotApplicable(
        f"layer {layer!r} has no channels: its output has shape {tuple(activation.shape)}; take a layer of maps, "
        "tokens or features, such as penultimate"
    )


@dataclass(slots=True)
class ChannelStatistics:
    """Of every channel, over all pictures and positions.

    Attributes:
        count: Values that each channel was seen to take.
        mean: (C,) float64.
        deviations: (C,) sum of squared deviations from the mean.
        max: (C,) greatest value.
    """

    count: int
    mean: NDArray[np.float64]
    deviations: NDArray[np.float64]
    max: NDArray[np.float64]

    @property
    def std(self) -> NDArray[np.float64]:
        """(C,) standard deviation, of the population."""
        return np.sqrt(self.deviations / max(self.count, 1))

    @classmethod
    def of(cls, seen: Responses) -> ChannelStatistics:
        """Those of one batch."""
        by_channel = seen.values.transpose(0, 1).flatten(1)
        variance, mean = torch.var_mean(by_channel, dim=1, correction=0)
        count = by_channel.shape[1]
        deviations = variance.double().cpu().numpy() * count
        return cls(count, mean.double().cpu().numpy(), deviations, by_channel.amax(1).double().cpu().numpy())

    def merge(self, other: ChannelStatistics) -> ChannelStatistics:
        """Those of both together, after Chan, Golub and LeVeque 1979."""
        count = self.count + other.count
        difference = other.mean - self.mean
        mean = self.mean + difference * (other.count / count)
        deviations = self.deviations + other.deviations + difference**2 * (self.count * other.count / count)
        return ChannelStatistics(count, mean, deviations, np.maximum(self.max, other.max))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `from_arrays` reads."""
        count = np.array(self.count)
        return {"count": count, "mean": self.mean, "deviations": self.deviations, "max": self.max}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> ChannelStatistics:
        """Those that `arrays` wrote."""
        return cls(int(arrays["count"]), arrays["mean"], arrays["deviations"], arrays["max"])


@dataclass(slots=True)
class Best:
    """The pictures that excite each channel most, at most once each; equal ones by number.

    Attributes:
        values: (C, k) greatest first; k is less than asked for while there are fewer pictures.
        images: (C, k) numbers of the pictures.
        positions: (C, k, 2) row and column of the value in the layer's output.
    """

    values: Floats
    images: Ints
    positions: Ints

    @classmethod
    def of(cls, values: Floats, positions: Ints, images: Ints) -> Best:
        """Those of one batch: (B, C) values, (B, C, 2) positions, (B,) numbers. Not yet in order."""
        numbers = np.broadcast_to(images, (values.shape[1], len(images)))
        return cls(values.T, numbers, positions.transpose(1, 0, 2))

    def kept(self, k: int) -> Best:
        """The k best, in order."""
        order = np.lexsort((self.images, -self.values), axis=1)[:, :k]
        return Best(
            np.take_along_axis(self.values, order, 1),
            np.take_along_axis(self.images, order, 1),
            np.take_along_axis(self.positions, order[..., None], 1),
        )

    def merge(self, other: Best, k: int) -> Best:
        """The k best of both, in order."""
        together = Best(
            np.concatenate([self.values, other.values], 1),
            np.concatenate([self.images, other.images], 1),
            np.concatenate([self.positions, other.positions], 1),
        )
        return together.kept(k)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `from_arrays` reads."""
        return {"values": self.values, "images": self.images, "positions": self.positions}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Best:
        """Those that `arrays` wrote."""
        return cls(arrays["values"], arrays["images"], arrays["positions"])


def _array(values: Tensor) -> Floats:
    return values.contiguous().cpu().numpy()
