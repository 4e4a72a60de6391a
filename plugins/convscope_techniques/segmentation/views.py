"""Views of a picture: its corners and its centre, mirrored too, as the saliency of a whole picture is averaged over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from convscope_sdk.network import Network
from convscope_sdk.target import Target

__all__ = ["View", "ten_crops"]


@dataclass(frozen=True, slots=True)
class View:
    """A part of a picture, seen at the picture's own size, perhaps in a mirror.

    Attributes:
        rows, columns: What it covers.
        mirrored: Whether left and right are exchanged.
    """

    rows: slice
    columns: slice
    mirrored: bool

    def of(self, image: Tensor) -> Tensor:
        """(1, 3, H, W): the part enlarged to the size of the image."""
        part = image[..., self.rows, self.columns]
        part = part.flip(-1) if self.mirrored else part
        return functional.interpolate(part, size=image.shape[-2:], mode="bilinear", align_corners=False)

    def gradient(self, network: Network, image: Tensor, target: Target) -> Tensor:
        """(1, 3, H, W): of the view's score with respect to the picture's own pixels; 0 beyond the part."""
        leaf = image.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(network.score(self.of(leaf), target).sum(), leaf)
        return gradient

    def cover(self, image: Tensor) -> Tensor:
        """(H, W) 1 within the part, 0 beyond."""
        whole = torch.zeros_like(image[0, 0])
        whole[self.rows, self.columns] = 1
        return whole


def ten_crops(height: int, width: int) -> tuple[View, ...]:
    """The corners and the centre, 7/8 of each edge (224 of 256 pixels), plain and mirrored."""
    rows, columns = _thirds(height), _thirds(width)
    corners = [(rows[y], columns[x]) for y in (0, 2) for x in (0, 2)]
    return tuple(View(*part, mirrored) for part in (*corners, (rows[1], columns[1])) for mirrored in (False, True))


def _thirds(edge: int) -> tuple[slice, slice, slice]:
    """First, middle and last 7/8 of an edge."""
    length = max(edge * 7 // 8, 1)
    first, middle, last = (slice(start, start + length) for start in (0, (edge - length) // 2, edge - length))
    return first, middle, last
