"""Forward passes of pictures that differ from one within a window: what no window changes is computed once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope_sdk.errors import NotApplicable
from convscope_sdk.layers import LayerInfo
from convscope_sdk.network import Network
from convscope_techniques.attribution.reach import Reach
from convscope_techniques.attribution.windows import Box
from convscope_techniques.layout import for_convolutions, has_maps

__all__ = ["LocalPass"]

_MOST_OF_PICTURE = 0.5
_TRIES = 24  # most fail at once, where a skip connection adds what was cropped to what was not
_AT_ONCE = 4  # maps of a large picture take much memory
_TOLERANCE = 1e-4  # of the largest logit


@dataclass(frozen=True, slots=True)
class LocalPass:
    """Logits of pictures that differ from one within a box each.

    Up to a layer, only the positions that see the box can differ, so the network is given a crop around the box, what
    the layer makes of it is put into what it made of the whole picture, and the pass goes on from there.

    Attributes:
        network: The network.
        layer: Where crops become whole again; all that the network finds out passes through it.
        maps: Its output for the picture, (1, C, h, w).
        rows, columns: What boxes reach there.
    """

    network: Network
    layer: LayerInfo
    maps: Tensor
    rows: Reach
    columns: Reach

    @classmethod
    def around(
        cls, network: Network, image: Tensor, edge: int, pixels: Tensor, boxes: Sequence[Box]
    ) -> LocalPass | None:
        """The pass that saves most for boxes of `edge` pixels, or None where there is none that saves enough.

        None for a network whose first layers see everything, or are skipped to its end; where boxes are large; and
        where the picture is not larger or smaller by whole strides than those that the network is made for.

        Args:
            network: The network.
            image: (1, 3, H, W) the picture that the others differ from.
            edge: Of the largest box.
            pixels: (B, 3, H, W) some of them, on which the pass is tried against one of the whole pictures.
            boxes: Where those differ.
        """
        with torch.no_grad():
            expected = network.logits(for_convolutions(pixels))
            most = _TOLERANCE * float(expected.abs().max())
            for candidate in _candidates(network, image, edge):
                try:
                    found = candidate.logits(pixels, boxes)
                except (AssertionError, RuntimeError, ValueError, NotApplicable):  # the network's, about sizes
                    continue
                if float((found - expected).abs().max()) <= most:
                    return candidate
        return None

    def logits(self, pixels: Tensor, boxes: Sequence[Box]) -> Tensor:
        """(B, classes) logits of pictures (B, 3, H, W) that differ from the one picture within a box each."""
        seeing = [(self.rows.seeing(*box.rows), self.columns.seeing(*box.columns)) for box in boxes]
        corners = [(self.rows.cut(down[0]), self.columns.cut(across[0])) for down, across in seeing]
        crops = torch.stack(
            [
                picture[:, top : top + self.rows.crop, left : left + self.columns.crop]
                for picture, (top, left) in zip(pixels, corners, strict=True)
            ]
        )

        def made_whole(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            maps = self.maps.expand(len(output), -1, -1, -1).clone(memory_format=_format(output))
            for whole, part, ((first, end), (left, right)), (y, x) in zip(maps, output, seeing, corners, strict=True):
                down, across = y // self.rows.stride, x // self.columns.stride
                whole[:, first:end, left:right] = part[:, first - down : end - down, left - across : right - across]
            return maps

        hook = self.network.module.get_submodule(self.layer.module).register_forward_hook(made_whole)
        try:
            return self.network.logits(for_convolutions(crops))
        finally:
            hook.remove()


def _candidates(network: Network, image: Tensor, edge: int) -> Iterator[LocalPass]:
    """Passes that may be right, those that save most first."""
    savings = _savings(network, image, edge)
    best = sorted(savings, key=savings.__getitem__, reverse=True)[:_TRIES]
    for start in range(0, len(best), _AT_ONCE):
        for name, maps in network.activations(for_convolutions(image), *best[start : start + _AT_ONCE]).items():
            layer = network.layer(name)
            yield LocalPass(network, layer, maps, *_reaches(layer, image, edge, maps.shape[-2:]))


def _savings(network: Network, image: Tensor, edge: int) -> dict[str, float]:
    """By layer, the numbers in the outputs so far that a crop need not have; of layers where it is small enough."""
    calls = Counter(info.module for info in network.layers if not info.functional)
    found, work = {}, 0
    for info in network.layers:
        work += math.prod(info.output_shape)
        once = not info.functional and info.module and calls[info.module] == 1
        if once and info.receptive_field and has_maps(info) and _fits(network, image, info.receptive_field.stride):
            part = math.prod(reach.crop / reach.edge for reach in _reaches(info, image, edge, info.output_shape[-2:]))
            if part <= _MOST_OF_PICTURE:
                found[info.name] = work * (1 - part)
    return found


def _fits(network: Network, image: Tensor, stride: Sequence[int]) -> bool:
    """Whether layers pad the picture as they did the one that their receptive fields are from: TensorFlow's may not."""
    return all((edge - network.input_size) % step == 0 for edge, step in zip(image.shape[-2:], stride, strict=True))


def _reaches(info: LayerInfo, image: Tensor, edge: int, positions: Sequence[int]) -> tuple[Reach, Reach]:
    field = info.receptive_field
    assert field is not None, "layers that see everything are no candidates"
    rows, columns = (
        Reach.of(pixels, count, edge, along)
        for pixels, count, *along in zip(
            image.shape[-2:], positions, field.size, field.stride, field.offset, strict=True
        )
    )
    return rows, columns


def _format(output: Tensor) -> torch.memory_format:
    last = output.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
