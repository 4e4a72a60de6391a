"""Masks drawn on their picture."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

__all__ = ["outlined", "painted"]

Bools = NDArray[np.bool_]

_FADED = 0.35  # of its contrast is left to what is beyond the mask
_EDGE = (1.0, 0.85, 0.0)
_OBJECT, _BACKGROUND, _NEITHER = (0.0, 0.2, 1.0), (0.0, 0.9, 0.9), (0.9, 0.1, 0.1)  # Simonyan et al., figure 4
_PAINT = 0.6


def outlined(image: Tensor, mask: Bools) -> Tensor:
    """(1, 3, H, W): the picture, faded to light grey beyond the mask, which has a yellow outline."""
    pixels = image.detach()
    grey = pixels.mean(1, keepdim=True) * _FADED + (1 - _FADED)
    inside = torch.from_numpy(mask).to(pixels.device)
    edge = torch.from_numpy(ndimage.binary_dilation(mask) & ~mask).to(pixels.device)
    return torch.where(edge, _colour(pixels, _EDGE), torch.where(inside, pixels, grey))


def painted(image: Tensor, foreground: Bools, background: Bools) -> Tensor:
    """(1, 3, H, W): the picture's brightness under blue, cyan, and red for what is neither."""
    pixels = image.detach()
    above, below = (torch.from_numpy(part).to(pixels.device) for part in (foreground, background))
    colour = torch.where(above, _colour(pixels, _OBJECT), _colour(pixels, _NEITHER))
    colour = torch.where(below, _colour(pixels, _BACKGROUND), colour)
    return torch.lerp(pixels.mean(1, keepdim=True).expand_as(pixels), colour, _PAINT)


def _colour(pixels: Tensor, colour: tuple[float, float, float]) -> Tensor:
    return pixels.new_tensor(colour).view(1, 3, 1, 1)
