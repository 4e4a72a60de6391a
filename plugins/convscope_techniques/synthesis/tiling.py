"""A large picture seen through small windows: in bounded memory, and without a trace of where they met."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

__all__ = ["Span", "Tiling", "spans"]

_GRID = 32  # the total stride of the usual classifiers: windows that begin on it see the picture in the same phase
_MARGIN = 64
_AXES = (2, 3)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one axis.

    Attributes:
        start, stop: What a window sees; beyond either end the picture is repeated.
        kept: What of the axis the window is responsible for.
    """

    start: int
    stop: int
    kept: slice

    @property
    def inner(self) -> slice:
        """What is kept, counted from `start`."""
        return slice(self.kept.start - self.start, self.kept.stop - self.start)


def spans(edge: int, tile: int, margin: int) -> list[Span]:
    """The stretches of an axis of `edge` pixels, each seen with `margin` more on both sides: `tile` in all, at most.

    What is kept covers the axis once. An axis that fits into a tile is one stretch, seen as it is.
    """
    if edge <= tile:
        return [Span(0, edge, slice(0, edge))]
    most = max((tile - 2 * margin) // _GRID * _GRID, _GRID)
    count = -(-edge // most)
    core = -(-edge // (count * _GRID)) * _GRID
    return [
        Span(start - margin, start + core + margin, slice(start, min(start + core, edge)))
        for start in range(0, edge, core)
    ]


@dataclass(frozen=True, slots=True)
class Tiling:
    """Windows of at most `tile` pixels' edge over pictures of any size.

    Neighbouring windows overlap by `margin` on both sides, and what lies within that of a window's edge is taken from
    the neighbour, which sees it whole.

    Attributes:
        tile: Edge of a window, pixels; a multiple of 32, at least 128.
    """

    tile: int

    @property
    def margin(self) -> int:
        """Pixels by which a window sees more than it keeps, on each side."""
        return min(_MARGIN, self.tile // 4)

    def count(self, height: int, width: int) -> int:
        """How many windows a picture takes."""
        return len(spans(height, self.tile, self.margin)) * len(spans(width, self.tile, self.margin))

    def reach(self, edge: int, least: int) -> int:
        """By how much a picture is to be rolled at random along an axis, so that no place is at an edge more often."""
        return max(least, self.tile // 2) if edge > self.tile else least

    def windows(self, pixels: Tensor) -> Iterator[tuple[Tensor, Span, Span]]:
        """Each window (1, 3, h, w) of (1, 3, H, W), with its rows and columns."""
        stretches = (spans(edge, self.tile, self.margin) for edge in pixels.shape[-2:])
        for rows, columns in product(*stretches):
            yield _taken(_taken(pixels, rows, _AXES[0]), columns, _AXES[1]), rows, columns

    def assembled(self, pixels: Tensor, of_window: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """What is computed window by window, put together as if from the whole picture.

        Args:
            pixels: (1, 3, H, W).
            of_window: From a window (1, 3, h, w) to maps (T, 3, h, w), such as gradients, and values (T,), such as
                means, that hold all over it.

        Returns:
            (T, 3, H, W), and (T,) the mean of the values by the area that each window keeps.
        """
        whole: Tensor | None = None
        total: Tensor | None = None
        for window, rows, columns in self.windows(pixels):
            maps, values = of_window(window)
            kept = maps[..., rows.inner, columns.inner]
            if whole is None or total is None:
                whole = maps.new_empty(len(maps), *pixels.shape[1:])
                total = torch.zeros_like(values)
            whole[..., rows.kept, columns.kept] = kept
            total += values * (kept[0, 0].numel() / pixels[0, 0].numel())
        assert whole is not None, "every picture has a window"
        assert total is not None, "likewise"
        return whole, total


def _taken(pixels: Tensor, span: Span, axis: int) -> Tensor:
    edge = pixels.shape[axis]
    if span.start == 0 and span.stop == edge:
        return pixels
    return pixels.index_select(axis, torch.arange(span.start, span.stop, device=pixels.device) % edge)
