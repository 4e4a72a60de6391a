"""Maps with a few pixels far above all others, made fit to be looked at."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

__all__ = ["CAP_HELP", "CapField", "capped"]

CAP_HELP = (
    "Fraction of the map's pixels that keep their own value; those beyond are cut to the largest magnitude among them, "
    "or a few would leave all others dark (Smilkov et al. 2017). 1 cuts none. Raw tensors are never cut."
)
CapField = Annotated[float, Field(gt=0, le=1)]


def capped(values: Tensor, fraction: float) -> Tensor:
    """The map cut to the magnitude that `fraction` of its pixels stay within, or as it is where that is 0."""
    magnitude = values.abs().flatten()
    limit = float(magnitude.kthvalue(max(int(fraction * magnitude.numel()), 1)).values)
    return values.clamp(-limit, limit) if limit > 0 else values
