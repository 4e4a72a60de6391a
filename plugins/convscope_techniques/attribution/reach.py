"""Which positions of a layer see a window of the picture, and how much of the picture they see, along one edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Reach"]


@dataclass(frozen=True, slots=True)
class Reach:
    """A layer along one edge of a picture.

    Attributes:
        edge: Of the picture, pixels.
        positions: Of the layer.
        size, stride, offset: Of the layer's receptive field, pixels.
        crop: Edge of a crop that is wide enough for all positions that see one window. The picture's edge is longer
            by whole strides, so that the layers before meet both of its ends as they meet the picture's.
    """

    edge: int
    positions: int
    size: int
    stride: int
    offset: int
    crop: int

    @classmethod
    def of(cls, edge: int, positions: int, window: int, field: Sequence[int]) -> Reach:
        """The reach of windows of `window` pixels at a layer whose receptive field is (size, stride, offset)."""
        size, stride, offset = field
        most = (window + size - 2) // stride + 1
        needed = (most - 1) * stride + size + offset % stride
        return cls(edge, positions, size, stride, offset, edge - max(edge - needed, 0) // stride * stride)

    def seeing(self, start: int, stop: int) -> tuple[int, int]:
        """The first position that sees any of the pixels `start` to `stop`, and the first after it that does not."""
        first = -((self.offset + self.size - 1 - start) // self.stride)
        last = (stop - 1 - self.offset) // self.stride
        return max(first, 0), min(last + 1, self.positions)

    def cut(self, first: int) -> int:
        """Where the crop begins, a multiple of the stride, that shows position `first` all that it sees."""
        begin = (self.offset + first * self.stride) // self.stride * self.stride
        return min(max(begin, 0), self.edge - self.crop)
