"""Which parts keep the score when random parts of the picture are hidden (Petsiuk et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from convscope_sdk.events import Event, Heatmap, Note, Preview, Progress, Scores
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.target import Target
from convscope_techniques.attribution.attribution import Found, Reporting, attribution
from convscope_techniques.attribution.baseline import BASELINE_HELP, Baseline, baseline_of
from convscope_techniques.attribution.batches import BATCH_HELP, BatchField, batch_size
from convscope_techniques.attribution.explained import explain
from convscope_techniques.attribution.params import AttributionParams
from convscope_techniques.layout import for_convolutions

__all__ = ["RandomMasks", "RiseParams", "rise"]


class RiseParams(AttributionParams):
    """Parameters of `rise`; the defaults are the paper's."""

    samples: int = Field(4000, ge=1, le=100_000, description="Masks; the paper takes 4,000 to 8,000.")
    cells: int = Field(7, ge=2, le=64, description="Rows and columns of the small random grid that a mask is made of.")
    p: float = Field(0.5, gt=0, lt=1, description="Probability that a cell of the grid is kept.")
    baseline: Baseline = Field("mean", description=BASELINE_HELP)
    measure: Literal["probability", "score"] = Field(
        "probability",
        description=(
            "What is averaged: the class's `probability` (the paper), or its unnormalised `score`, as for units "
            "inside the network, which have no probability."
        ),
    )
    batch: BatchField = Field(None, description=BATCH_HELP)


@attribution("rise", needs={"image", "classes"}, cites="Petsiuk, Das & Saenko 2018, arXiv:1806.07421")
def rise(run: Run[RiseParams]) -> Reporting:
    """Which parts the network recognises the class by, from its answers to randomly masked pictures alone.

    `rise`, (H, W), is 1/(N p) times the sum over N random masks M of f(x under M) M: the mean probability of the
    class while a pixel is visible. Masks are random grids, enlarged by bilinear interpolation and shifted by a
    random part of a cell. Differences matter, not the height: a pixel that plays no part gets the mean.
    """
    params, network, image = run.params, run.network, run.image
    with torch.no_grad():
        explained = explain(network, image, params.target)
    yield from explained.events(network)
    measure = params.measure if explained.target.is_class else "score"
    if measure != params.measure:
        yield Note(f"{explained.target} has no probability: its value is averaged instead")
    values, mean, batch = yield from _running_mean(run, explained.target, probability=measure == "probability")
    caption = f"mean {measure} of {explained.target} while a pixel is visible, {params.samples} masks"
    yield Heatmap("rise", values, caption=caption)
    yield Scores({"masks": float(params.samples), "mean_measure": mean})
    return Found(values, explained.target, batch)


@dataclass(frozen=True, slots=True)
class RandomMasks:
    """Masks of a picture, drawn all at once, so that they do not depend on how many are used at a time.

    Attributes:
        grids: (N, cells, cells) booleans, True where the picture is kept.
        shifts: (N, 2) pixels, rows and columns, each below a cell's.
        size: (H, W) of the picture.
    """

    grids: Tensor
    shifts: Tensor
    size: tuple[int, int]

    @classmethod
    def drawn(cls, rng: np.random.Generator, count: int, cells: int, p: float, size: tuple[int, int]) -> RandomMasks:
        """`count` masks of a picture of `size`, (H, W)."""
        grids = torch.from_numpy(rng.random((count, cells, cells)) < p)
        edges = [math.ceil(edge / cells) for edge in size]
        return cls(grids, torch.from_numpy(rng.integers(0, edges, (count, 2))), size)

    def __len__(self) -> int:
        return len(self.grids)

    def masks(self, start: int, stop: int, device: torch.device) -> Tensor:
        """(B, 1, H, W) in [0, 1]: masks `start` to `stop`, each a grid enlarged by one cell more, and cut out."""
        cells = self.grids.shape[-1]
        height, width = self.size
        enlarged = [(cells + 1) * math.ceil(edge / cells) for edge in self.size]
        grids = self.grids[start:stop, None].to(device, torch.float32)
        large = functional.interpolate(grids, size=enlarged, mode="bilinear", align_corners=False)
        cuts = [
            mask[:, top : top + height, left : left + width]
            for mask, (top, left) in zip(large, self.shifts[start:stop].tolist(), strict=True)
        ]
        return torch.stack(cuts)


def _running_mean(
    run: Run[RiseParams], target: Target, *, probability: bool
) -> Generator[Event, None, tuple[Tensor, float, int]]:
    """The (H, W) map and the mean of the measure, as masks come in; and how many at once, before thrift."""
    params, network, image = run.params, run.network, run.image
    height, width = image.shape[-2:]
    drawn = RandomMasks.drawn(run.rng, params.samples, params.cells, params.p, (height, width))
    batch = params.batch or batch_size(network, image, part=0.5)
    with run.state("rise", sums=image.new_zeros((height, width)), total=0.0, done=0, batch=batch) as state:
        while state.done < params.samples:
            masks = drawn.masks(state.done, state.done + run.inner_batch(state.batch), image.device)
            masked = for_convolutions(_masked(run, masks))
            measured = _measured(network, masked, target, probability=probability)
            state.sums += (measured.view(-1, 1, 1) * masks[:, 0]).sum(0)
            state.total += float(measured.sum())
            state.done += len(masks)
            yield Progress(state.done, params.samples, {"mean_measure": state.total / state.done})
            so_far = state.sums / (state.done * params.p)
            yield Preview(so_far, caption=f"{state.done} of {params.samples} masks", heatmap=True)
            yield state
    return state.sums / (params.samples * params.p), state.total / params.samples, state.batch


def _masked(run: Run[RiseParams], masks: Tensor) -> Tensor:
    return torch.lerp(baseline_of(run.params.baseline, run.network, run.image), run.image, masks)


@torch.no_grad()
def _measured(network: Network, pixels: Tensor, target: Target, *, probability: bool) -> Tensor:
    """(B,) scores, or probabilities; of a contrast their difference."""
    if not probability:
        return network.score(pixels, target)
    return network.target_value(target, logits=network.logits(pixels).softmax(1))
