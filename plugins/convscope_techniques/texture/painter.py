"""A network that paints, used on pictures of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope_sdk.errors import NotApplicable
from convscope_techniques.texture.fixed_norms import FixedNorms

__all__ = ["Painter"]

_STRIDE = 4
_REACH = 64  # of what one pixel of Johnson's network sees, in each direction, rounded up
_LEAST = 16  # edge of what the network can be given, since reflection needs something to reflect


class Painter:
    """Paints pixels in [0, 1] with a stylizer, in one piece or in tiles.

    A tile is painted with the means and variances that instance norms found in the whole picture made smaller (Chen
    et al. 2022, arXiv:2103.11784), and with a margin as wide as the network sees, so that no seam shows and memory
    is that of a tile.

    Args:
        module: Takes and gives normalised pixels.
        mean, std: Of the normalisation (x - mean) / std, the same for what comes out.
        tile: Pictures with a longer edge than this are painted in tiles of it; a multiple of 4, at least 256.
    """

    def __init__(
        self, module: nn.Module, *, mean: Tensor | float = 0.0, std: Tensor | float = 1.0, tile: int = 1024
    ) -> None:
        self._module, self._mean, self._std, self._tile = module, mean, std, tile
        self._inner = tile - 2 * _REACH

    def paint(self, pixels: Tensor) -> Tensor:
        """(1, 3, H, W) in [0, 1], as large as the pixels."""
        *_, painted = self.steps(pixels)
        return painted

    def tiles(self, pixels: Tensor) -> int:
        """How many `steps` there are."""
        height, width = pixels.shape[-2:]
        if max(height, width) <= self._tile:
            return 1
        return math.ceil(height / self._inner) * math.ceil(width / self._inner)

    def steps(self, pixels: Tensor) -> Iterator[Tensor]:
        """The picture after each tile, (1, 3, H, W) in [0, 1]; what is not painted yet is as it was."""
        height, width = pixels.shape[-2:]
        if max(height, width) <= self._tile:
            yield self._pass(pixels)
            return
        norms = FixedNorms(self._module)
        scale = self._tile / max(height, width)
        smaller = functional.interpolate(pixels, scale_factor=scale, mode="bilinear", antialias=True)
        with norms.watching():
            self._pass(smaller)
        painted = pixels.clone()
        for top in range(0, height, self._inner):
            for left in range(0, width, self._inner):
                bottom, right = min(top + self._inner, height), min(left + self._inner, width)
                above, before = max(top - _REACH, 0), max(left - _REACH, 0)
                seen = pixels[..., above : bottom + _REACH, before : right + _REACH]
                with norms.fixed():
                    tile = self._pass(seen)
                rows, columns = slice(top - above, bottom - above), slice(left - before, right - before)
                painted[..., top:bottom, left:right] = tile[..., rows, columns]
                yield painted

    def _pass(self, pixels: Tensor) -> Tensor:
        """One forward pass over pixels of any size."""
        height, width = pixels.shape[-2:]
        below = max(_LEAST - height, -height % _STRIDE)
        beside = max(_LEAST - width, -width % _STRIDE)
        # Reflection cannot add more than there is; edges repeated serve the few pixels that a tiny picture lacks.
        padded = functional.pad(pixels, (0, beside, 0, below), mode="replicate")
        with torch.no_grad():
            painted: Tensor = self._module((padded - self._mean) / self._std)
        if painted.ndim != padded.ndim or painted.shape[1] != padded.shape[1] or painted.shape[-2:] < padded.shape[-2:]:
            raise NotApplicable(
                f"the stylizer made {tuple(painted.shape)} of {tuple(padded.shape)}: no picture as large as its input"
            )
        return (painted * self._std + self._mean).clamp(0, 1)[..., :height, :width]
