"""What becomes of a picture when it is saved: 8 bits a value, in a PNG."""

from __future__ import annotations

import io

from torch import Tensor

from convscope_sdk.images import open_image, to_tensor
from convscope_sdk.pictures import to_picture

__all__ = ["reread"]


def reread(pixels: Tensor) -> Tensor:
    """(1, 3, H, W) what a reader of the picture's PNG file gets: really encoded, and decoded again."""
    file = io.BytesIO()
    to_picture(pixels).save(file, "PNG", compress_level=1)  # any level loses nothing
    return to_tensor(open_image(file.getvalue()).picture, pixels.device)
