"""More of a texture, a patch at a time (Efros & Freeman 2001)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from convscope_sdk.events import Event, Image, Note, Preview, Progress, Scores, Tensor
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_techniques.texture.quilt import Quilt
from convscope_techniques.texture.sample import (
    SampleParams,
    as_array,
    as_pixels,
    check_window,
    texture_size,
    verbatim,
)

__all__ = ["ImageQuiltingParams", "image_quilting"]

_OVERLAP = 1 / 6


class ImageQuiltingParams(SampleParams):
    """Parameters of `image_quilting`; overlap and tolerance are the paper's."""

    size: int | None = Field(128, ge=16, le=4096, description="Longer edge of the sample in pixels.")
    window: int = Field(24, ge=2, le=1024, description="Edge of the square patches; larger than the texture's parts.")
    overlap: int | None = Field(
        None, ge=1, le=512, description="Pixels that neighbouring patches share; a sixth of `window` where absent."
    )
    error_threshold: float = Field(
        0.1, ge=0, le=10, description="A patch fits with an overlap error up to 1 + this times the least error."
    )
    preview_every: int = Field(8, ge=1, le=10_000, description="Show every so many patches.")

    @model_validator(mode="after")
    def _patches_advance(self) -> Self:
        if self.overlap is not None and self.overlap >= self.window:
            raise ValueError(f"an overlap of {self.overlap} leaves nothing of a patch: take less than {self.window}")
        return self

    @property
    def shared(self) -> int:
        """Pixels that neighbours share."""
        return self.overlap or max(round(self.window * _OVERLAP), 1)


@technique(
    "image_quilting",
    needs={"image"},
    cites="Efros & Freeman 2001, SIGGRAPH, doi:10.1145/383259.383296",
    resumable=True,
    steers={"error_threshold", "preview_every"},
)
def image_quilting(run: Run[ImageQuiltingParams]) -> Iterator[Event]:
    """More of the picture's texture, sewn of overlapping patches along the lines where they differ least.

    Left to right and top to bottom, each patch is one of those with an overlap error, the mean squared difference,
    within (1 + error_threshold) times the least. In each overlap the cut is the cheapest path of squared
    differences, E(i, j) = e(i, j) + min(E(i-1, j-1), E(i-1, j), E(i-1, j+1)). Image and tensor `texture`, (3, H, W);
    tensor `sources`, (H, W, 2), row and column of the sample that each pixel came from. The network is not asked.
    Patches smaller than the texture's parts break them; large ones repeat the sample visibly.
    """
    params, sample = run.params, run.image
    check_window(params.window, sample)
    size = texture_size(params, sample)
    quilt = Quilt(as_array(sample), size, params.window, params.shared, run.rng, tolerance=params.error_threshold)
    yield Note("made from the picture alone: the network is not asked")
    with run.state("quilt", quilt=quilt) as state:
        for count in quilt.run():
            yield Progress(count, len(quilt), {"error": quilt.errors[-1] if quilt.errors else 0.0})
            if count % params.preview_every == 0 or count == len(quilt):
                yield Preview(as_pixels(quilt.texture), caption=f"{count} of {len(quilt)} patches")
            yield state
    texture = as_pixels(quilt.texture)
    yield Image("texture", texture, caption=f"{len(quilt)} patches of {params.window} px")
    yield Tensor("texture", texture, caption="pixels, 1 is white")
    yield Tensor("sources", np.array(quilt.sources), caption="row and column of the sample each pixel was copied from")
    yield Scores(
        {
            "mean_error": float(np.mean(quilt.errors)) if quilt.errors else 0.0,
            "largest_error": max(quilt.errors, default=0.0),
            "verbatim": verbatim(quilt.sources),
            "patches": float(len(quilt)),
        }
    )
