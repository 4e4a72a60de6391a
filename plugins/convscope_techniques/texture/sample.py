"""What every texture technique is given: a sample, and how much texture to make of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.params import Fit, ImageParams

__all__ = ["SampleParams", "as_array", "as_pixels", "check_window", "texture_size", "verbatim"]

_LONGEST = 4096


class SampleParams(ImageParams):
    """A picture as a sample of a texture, and the size of what is made of it."""

    fit: Fit = Field("keep", description="How the picture becomes the sample; `keep` its proportions by default.")
    grow: float = Field(
        2.0, ge=0.25, le=16, description="Edges of the texture made, as multiples of the sample's; at most 4096 px."
    )
    output_size: int | None = Field(
        None,
        ge=16,
        le=_LONGEST,
        description="Longer edge of the texture made, in pixels, in the sample's proportions; in place of `grow`.",
    )


def texture_size(params: SampleParams, sample: Tensor) -> tuple[int, int]:
    """(H, W) of the texture to be made of a sample (1, 3, h, w).

    Raises:
        InvalidParams: an edge would be above 4,096 px.
    """
    height, width = sample.shape[-2:]
    scale = params.grow if params.output_size is None else params.output_size / max(height, width)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    if max(size) > _LONGEST:
        raise _refused("grow", f"the texture would be {size[0]}x{size[1]}; take grow up to {_LONGEST / max(size):.3g}")
    return size


def check_window(window: int, sample: Tensor) -> None:
    """Refuses a window that does not fit into the sample.

    Raises:
        InvalidParams: says the largest that does.
    """
    shorter = min(sample.shape[-2:])
    if window > shorter:
        raise _refused("window", f"{window} is more than the sample's shorter edge, {shorter}; take less, or more size")


def as_array(sample: Tensor) -> NDArray[np.float32]:
    """(h, w, 3) of pixels (1, 3, h, w)."""
    return np.ascontiguousarray(sample[0].permute(1, 2, 0).cpu().numpy())


def as_pixels(texture: NDArray[np.floating]) -> NDArray[np.float32]:
    """(3, H, W) of (H, W, 3): as events hold pictures. A copy."""
    return np.array(texture.transpose(2, 0, 1), dtype=np.float32, order="C")


def verbatim(sources: NDArray[np.integer]) -> float:
    """The share of pixels copied together with the one on their left or above, of (H, W, 2) places in the sample."""
    left = (sources[1:, 1:] - sources[1:, :-1] == (0, 1)).all(-1)
    above = (sources[1:, 1:] - sources[:-1, 1:] == (1, 0)).all(-1)
    return float((left | above).mean()) if left.size else 0.0


def _refused(field: str, text: str) -> InvalidParams:
    return InvalidParams(f"{field}: {text}", violations=[FieldViolation(f"params.{field}", text)])
