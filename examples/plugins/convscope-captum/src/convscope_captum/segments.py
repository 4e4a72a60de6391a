"""Parts of a picture that are hidden as one."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

__all__ = ["Segmentation", "segments_of"]

Segmentation = Literal["grid", "slic"]


def segments_of(pixels: Tensor, kind: Segmentation, count: int) -> Tensor:
    """(1, 1, H, W) numbers 0, 1, …, about `count` of them: square cells, or superpixels of one colour each."""
    height, width = pixels.shape[-2:]
    if kind == "grid":
        edge = max(round((height * width / count) ** 0.5), 1)
        rows, columns = torch.arange(height) // edge, torch.arange(width) // edge
        numbers: Tensor = rows[:, None] * (int(columns.max()) + 1) + columns[None, :]
        return numbers[None, None].to(pixels.device)
    from skimage.segmentation import slic

    picture = pixels[0].permute(1, 2, 0).cpu().numpy()
    found = slic(picture, n_segments=count, compactness=10, start_label=0)
    in_a_row = np.unique(found, return_inverse=True)[1].reshape(found.shape)
    return torch.as_tensor(in_a_row)[None, None].to(pixels.device)
