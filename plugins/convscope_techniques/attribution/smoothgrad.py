"""Which pixels the score is sensitive to, averaged over noisy copies of the picture (Smilkov et al. 2017)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from convscope_sdk import events
from convscope_sdk.events import Event, Heatmap, ImageGrid, Preview, Progress
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.target import Target
from convscope_techniques.attribution.attribution import Found, Reporting, attribution
from convscope_techniques.attribution.batches import BATCH_HELP, BatchField, batch_size
from convscope_techniques.attribution.capped import CAP_HELP, CapField, capped
from convscope_techniques.attribution.explained import explain
from convscope_techniques.attribution.gradients import gradients
from convscope_techniques.attribution.params import AttributionParams
from convscope_techniques.attribution.saliency import Reduce, reduced

__all__ = ["SmoothGradParams", "smoothgrad"]


class SmoothGradParams(AttributionParams):
    """Parameters of `smoothgrad`; the defaults are the paper's."""

    samples: int = Field(50, ge=1, le=10_000, description="Noisy copies of the picture; more than 50 change little.")
    sigma: float = Field(
        0.15,
        ge=0,
        le=1,
        description=(
            "Standard deviation of the noise, as a fraction of the picture's range, its largest pixel minus its "
            "smallest; 0.1 to 0.2 in the paper."
        ),
    )
    average: Literal["gradient", "square", "variance"] = Field(
        "gradient",
        description="What is averaged: the `gradient` (the paper), its `square`, or its `variance` (VarGrad).",
    )
    reduce: Reduce = Field(
        "max",
        description=(
            "How the three colour channels become one map: the `max` of the magnitudes, their `mean`, or `none` for "
            "one map each."
        ),
    )
    signed: bool = Field(False, description="Keep the sign of the mean gradient instead of its magnitude.")
    cap: CapField = Field(0.99, description=CAP_HELP)
    batch: BatchField = Field(None, description=BATCH_HELP)


@attribution(
    "smoothgrad",
    needs={"image", "gradients", "classes"},
    cites="Smilkov et al. 2017, arXiv:1706.03825",
)
def smoothgrad(run: Run[SmoothGradParams]) -> Reporting:
    """Which pixels change the score most, without the saliency map's noise: its mean over noisy pictures.

    The mean of the gradients at x + N(0, s^2), s = sigma (max x - min x), for the class that the clean picture
    has; `smoothgrad` is the largest magnitude over channels, cut at its 99th percentile, and tensor `gradient` the
    signed mean, (3, H, W). The noisy pixels are not clipped. Noise is drawn on the CPU, one copy at a time, so that
    a seed means the same copies on every device and in every batch.
    """
    params, image = run.params, run.image
    with torch.no_grad():
        explained = explain(run.network, image, params.target)
    yield from explained.events(run.network)
    average, batch = yield from _accumulated(run, explained.target)
    values = reduced(average, params.reduce, signed=params.signed)[0]
    caption = f"sensitivity of {explained.target} to each pixel, {params.average} over {params.samples} noisy copies"
    if params.reduce == "none":
        yield ImageGrid("smoothgrad", _tiles(values), labels=("red", "green", "blue"), columns=3, caption=caption)
        yield events.Tensor("smoothgrad", values, caption=caption)
    else:
        yield Heatmap("smoothgrad", capped(values[0], params.cap), signed=params.signed, caption=caption)
    yield events.Tensor("gradient", average[0], caption=f"{params.average} of the gradients, pixels in [0, 1]")
    shown = reduced(average, "max", signed=params.signed)[0] if params.reduce == "none" else values
    return Found(shown[0], explained.target, batch)


def _accumulated(run: Run[SmoothGradParams], target: Target) -> Generator[Event, None, tuple[Tensor, int]]:
    """The (1, 3, H, W) average as samples come in; and how many at once, before thrift."""
    params, image = run.params, run.image
    deviation = params.sigma * (image.max() - image.min())
    batch = params.batch or batch_size(run.network, image, gradients=True)
    with run.state("smoothgrad", sums=torch.zeros_like(image).repeat(2, 1, 1, 1), done=0, batch=batch) as state:
        while state.done < params.samples:
            count = min(run.inner_batch(state.batch), params.samples - state.done)
            state.sums += _moments(run.network, image + deviation * _noise(image, count), target)
            state.done += count
            yield Progress(state.done, params.samples)
            average = _average(state.sums / state.done, params.average)
            shown = reduced(average, "max" if params.reduce == "none" else params.reduce, signed=params.signed)
            caption = f"{state.done} of {params.samples} samples"
            yield Preview(capped(shown[0, 0], params.cap), caption=caption, heatmap=True)
            yield state
    return _average(state.sums / state.done, params.average), state.batch


def _noise(image: Tensor, count: int) -> Tensor:
    shape = image.shape[1:]
    return torch.stack([torch.randn(shape) for _ in range(count)]).to(image)


def _moments(network: Network, pixels: Tensor, target: Target) -> Tensor:
    """(2, 3, H, W): sums over the batch of the gradients and of their squares."""
    found = gradients(network, pixels, target)
    return torch.stack([found.sum(0), found.square().sum(0)])


def _average(moments: Tensor, kind: Literal["gradient", "square", "variance"]) -> Tensor:
    mean, square = moments[:1], moments[1:]
    if kind == "gradient":
        return mean
    return square if kind == "square" else (square - mean.square()).clamp(min=0)


def _tiles(values: Tensor) -> Tensor:
    """(3, 1, H, W) in [0, 1] on one scale, zero in the middle where there is anything below it."""
    scaled = values / values.abs().max().clamp(min=torch.finfo(values.dtype).tiny)
    return (scaled / 2 + 0.5 if values.min() < 0 else scaled)[:, None]
