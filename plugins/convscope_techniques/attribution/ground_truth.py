"""Where the object really is, by a mask that the caller gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from convscope_sdk.errors import InvalidImage
from convscope_sdk.images import fit_image, to_tensor
from convscope_sdk.params import ImageParams
from convscope_sdk.pictures import to_picture
from convscope_sdk.run import Run

__all__ = ["MASK", "ground_truth", "iou"]

MASK: Mapping[str, str] = {
    "mask": (
        "Where the object is: white on black, drawn on the whole picture, in its proportions; fitted as the picture is."
    )
}
"""The extra image of techniques that can compare their result with the truth."""

P = TypeVar("P", bound=ImageParams)

_WHITE = 0.5


def ground_truth(run: Run[P]) -> Tensor | None:
    """(H, W) booleans in the input's coordinates, True on the object; None where no mask was given.

    Raises:
        InvalidImage: the mask has other proportions than the picture, or nothing of it is within the input.
    """
    if "mask" not in run.images:
        return None
    params = run.params
    fitted = fit_image(to_picture(run.images["mask"]), run.network.spec, fit=params.fit, size=params.size)
    mask = to_tensor(fitted, run.image.device)[0].mean(0) > _WHITE
    if mask.shape != run.image.shape[-2:]:
        raise InvalidImage(
            f"mask: it becomes {_size(mask)} where the picture becomes {_size(run.image)}; give a mask in the "
            f"proportions of the picture",
            reason="MASK_MISMATCH",
        )
    if not mask.any():
        raise InvalidImage(
            "mask: no white pixel is left within the input; the object is white on black, and with fit=crop the "
            "picture's border is cut off: take fit=keep or fit=resize",
            reason="MASK_EMPTY",
        )
    return mask


def iou(first: Tensor, second: Tensor) -> float:
    """Intersection over union of two boolean masks, in [0, 1]; 0 where both are empty."""
    union = int(torch.logical_or(first, second).sum())
    return int(torch.logical_and(first, second).sum()) / union if union else 0.0


def _size(values: Tensor) -> str:
    return "x".join(str(edge) for edge in values.shape[-2:])
