"""More of a texture, one pixel at a time (Efros & Leung 1999)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from pydantic import Field, field_validator

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.events import Event, Image, Note, Preview, Progress, Scores, Tensor
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from convscope_techniques.texture.candidates import Candidates
from convscope_techniques.texture.growth import Growth
from convscope_techniques.texture.sample import (
    SampleParams,
    as_array,
    as_pixels,
    check_window,
    texture_size,
    verbatim,
)

__all__ = ["TextureSynthesisParams", "texture_synthesis"]

_MOST_BYTES = 2**30


class TextureSynthesisParams(SampleParams):
    """Parameters of `texture_synthesis`; the thresholds are the paper's."""

    size: int | None = Field(64, ge=16, le=4096, description="Longer edge of the sample in pixels.")
    window: int = Field(
        11,
        ge=3,
        le=101,
        description="Edge of the neighbourhood that is compared, odd: as large as the texture's largest regular part.",
    )
    error_threshold: float = Field(
        0.1, ge=0, le=10, description="A match is any window with an error up to 1 + this times the least error."
    )
    max_error: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Matches above this error, a mean square of differences in [0, 1], wait; a pass without any "
        "match raises it by a tenth.",
    )
    preview_every: int = Field(200, ge=1, le=100_000, description="Show every so many pixels.")

    @field_validator("window")
    @classmethod
    def _has_a_centre(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError(f"a window has a centre: take {window - 1} or {window + 1}")
        return window


@technique(
    "texture_synthesis",
    needs={"image"},
    cites="Efros & Leung 1999, ICCV, doi:10.1109/ICCV.1999.790383",
    resumable=True,
    steers={"error_threshold", "preview_every"},
)
def texture_synthesis(run: Run[TextureSynthesisParams]) -> Iterator[Event]:
    """More of the picture's texture, grown outward from a seed: every pixel is a pixel of the sample.

    Each pixel at the edge of what is there, those with most filled neighbours first, is compared by its known
    neighbourhood with every whole window of the sample: d = sum of G·(difference)² / sum of G, G a Gaussian with
    sigma = window / 6.4 over the known pixels, differences in [0, 1] and averaged over RGB. One of the windows with
    d <= (1 + error_threshold)·min d gives its centre. Image and tensor `texture`, (3, H, W); tensor `sources`,
    (H, W, 2), row and column of the sample that each pixel came from. The network is not asked. A window smaller
    than the texture's parts grows garbage, a larger one copies the sample.
    """
    size, growth = _begin(run)
    total = size[0] * size[1]
    yield Note("made from the picture alone: the network is not asked")
    with run.state("growth", growth=growth) as state:
        errors = growth.run()
        while latest := list(islice(errors, run.params.preview_every)):
            yield Progress(growth.filled, total, {"error": float(np.mean(latest)), "max_error": growth.max_error})
            yield Preview(as_pixels(growth.texture()), caption=f"{growth.filled} of {total} pixels")
            yield state
    yield from _results(growth)


def _begin(run: Run[TextureSynthesisParams]) -> tuple[tuple[int, int], Growth]:
    params, sample = run.params, run.image
    size = texture_size(params, sample)
    check_window(params.window, sample)
    needed = Candidates.bytes_needed(sample.shape[-2], sample.shape[-1], params.window)
    if needed > _MOST_BYTES:
        text = (
            f"all {params.window} px windows of a sample of {sample.shape[-2]}x{sample.shape[-1]} take "
            f"{needed / 2**30:.1f} GiB, more than 1; take size=128, a smaller window, or image_quilting"
        )
        raise InvalidParams(text, violations=[FieldViolation("params.size", text)])
    growth = Growth(
        as_array(sample),
        size,
        params.window,
        run.rng,
        error_threshold=params.error_threshold,
        max_error=params.max_error,
    )
    return size, growth


def _results(growth: Growth) -> Iterator[Event]:
    texture = as_pixels(growth.texture())
    yield Image("texture", texture, caption="every pixel is one of the sample's")
    yield Tensor("texture", texture, caption="pixels, 1 is white")
    yield Tensor("sources", growth.sources, caption="row and column of the sample that each pixel was copied from")
    yield Scores(
        {
            "mean_error": float(np.mean(growth.errors)) if growth.errors else 0.0,
            "largest_error": max(growth.errors, default=0.0),
            "verbatim": verbatim(growth.sources),
            "max_error": growth.max_error,
        }
    )
    if growth.relaxed:
        yield Note(f"nothing matched within max_error in {growth.relaxed} passes: it rose to {growth.max_error:.3g}")
