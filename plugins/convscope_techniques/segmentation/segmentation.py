"""The object that a class score depends on, cut out of the picture (Simonyan et al. 2013)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import ndimage
from torch import Tensor

from convscope_sdk import events
from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Event, Heatmap, Image, Note, Preview, Progress, Scores, Table
from convscope_sdk.run import Run
from convscope_sdk.target import Target
from convscope_sdk.technique import technique
from convscope_techniques.attribution.baseline import baseline_of
from convscope_techniques.attribution.batches import batch_size
from convscope_techniques.attribution.explained import Explained, explain
from convscope_techniques.attribution.ground_truth import MASK, ground_truth, iou
from convscope_techniques.segmentation.evidence import Average, EvidenceParams
from convscope_techniques.segmentation.grab_cut import GrabCut
from convscope_techniques.segmentation.outline import outlined, painted

__all__ = ["SegmentationParams", "largest_component", "seeds_of", "segmentation"]

Bools = NDArray[np.bool_]
Rows = list[dict[str, float]]


class SegmentationParams(EvidenceParams):
    """Parameters of `segmentation`; the defaults are the papers'."""

    foreground: float = Field(
        0.95, gt=0, lt=1, description="Quantile of the saliency above which a pixel's colour is the object's."
    )
    background: float = Field(
        0.30, gt=0, lt=1, description="Quantile of the saliency below which a pixel's colour is the background's."
    )
    seeds: Literal["colours", "fixed"] = Field(
        "colours",
        description=(
            "What pixels beyond the quantiles do: give their `colours` to the models alone (the paper), or also keep "
            "their side, `fixed`."
        ),
    )
    k: int = Field(5, ge=1, le=16, description="Gaussians in each of the two colour models.")
    gamma: float = Field(50.0, ge=0, le=1000, description="What a border costs, compared with colours.")
    steps: int = Field(5, ge=0, le=50, description="Times that the colour models are learned anew from the cut.")

    @model_validator(mode="after")
    def _quantiles_leave_both(self) -> Self:
        if self.background >= self.foreground:
            raise ValueError(f"background {self.background} has to be below foreground, {self.foreground}")
        return self


@technique(
    "segmentation",
    needs={"image", "gradients", "classes"},
    cites="Simonyan, Vedaldi & Zisserman 2013, arXiv:1312.6034; Rother, Kolmogorov & Blake 2004",
    extra_images=MASK,
    resumable=True,
    steers={"steps"},
)
def segmentation(run: Run[SegmentationParams]) -> Iterator[Event]:
    """The object that a class score depends on, cut out of the picture: saliency, colours, and a graph cut.

    The colours of the most salient 5 % of pixels make the object's model, those of the least salient 30 % the
    background's: mixtures of Gaussians. A minimum cut gives the labelling of least energy, -log p of each colour
    in its model plus gamma / distance * exp(-beta |difference|^2) for each pair of neighbours that it parts, beta as
    in GrabCut; then models and cut in turns. The largest component is the object. Tensor `mask`, (H, W), is 1 on
    it; `seeds` shows what the models were made of: blue the object, cyan the background, red neither. Saliency
    says what a class is told by, not where the object ends: a cat is cut out by its face.
    """
    truth = ground_truth(run)
    with torch.no_grad():
        explained = explain(run.network, run.image, run.params.target)
    yield from explained.events(run.network)
    batch = batch_size(run.network, run.image, gradients=True)
    with run.state("segmentation", saliency=None, batch=batch) as state:
        average = Average.of(run.network, run.image, explained.target, run.params, batch=state.batch)
        if state.saliency is None:
            state.saliency = yield from _averaged(run, average)
        saliency = state.saliency
        yield Heatmap("saliency", saliency, overlay=False, caption=f"sensitivity of {explained.target} to each pixel")
        foreground, background = seeds_of(saliency, run.params.foreground, run.params.background)
        labels, rows = yield from _cut(run, foreground, background, done=average.passes)
    mask = largest_component(labels)
    yield from _pictures(run, mask, explained.target)
    yield Image(
        "seeds", painted(run.image, foreground, background), caption="blue object, cyan background, red neither"
    )
    yield Table("energy", rows, caption="of each cut")
    yield from _report(run, explained, rows, mask, truth)


def seeds_of(saliency: Tensor, foreground: float, background: float) -> tuple[Bools, Bools]:
    """(H, W) booleans, pixels with a saliency above the one quantile and below the other.

    Raises:
        NotApplicable: the saliency is the same everywhere, so that it tells nothing from anything.
    """
    values = saliency.detach().cpu().double().numpy()
    high, low = np.quantile(values, foreground), np.quantile(values, background)
    above, below = values > high, values < low
    if not above.any() or not below.any():  # many pixels have the very same saliency
        above, below = values >= high, values <= low
    if (above & below).any():
        raise NotApplicable(
            "the score does not depend on most of the picture: its saliency tells no object from a background; take "
            "another target, or average=noise"
        )
    return above, below


def largest_component(labels: Bools) -> Bools:
    """The largest part of a mask that hangs together by edges or corners; empty where the mask is."""
    parts, count = ndimage.label(labels, np.ones((3, 3)))
    if count == 0:
        return labels
    return np.asarray(parts == 1 + np.bincount(parts.ravel())[1:].argmax())


def _averaged(run: Run[SegmentationParams], average: Average) -> Generator[Event, None, Tensor]:
    total = average.passes + run.params.steps + 1
    with run.state("saliency", sum=0.0, done=0) as state:
        while state.done < average.passes:
            state.sum = state.sum + average.part(state.done)
            state.done += 1
            yield Progress(state.done, total)
            yield Preview(average.saliency(state.sum, state.done), caption="saliency", heatmap=True)
            yield state
    return average.saliency(state.sum, state.done)


def _cut(
    run: Run[SegmentationParams], foreground: Bools, background: Bools, *, done: int
) -> Generator[Event, None, tuple[Bools, Rows]]:
    """The labels of the last cut, and a row for each."""
    params, total = run.params, done + run.params.steps + 1
    picture = run.image[0].permute(1, 2, 0).cpu().double().numpy() * 255
    fixed = params.seeds == "fixed"
    cuts = GrabCut(picture, foreground, background, k=params.k, gamma=params.gamma, steps=params.steps, fixed=fixed)
    with run.state("cuts", cuts=cuts, labels=foreground, rows=[]) as state:
        for cut in cuts:
            row = {"cut": float(len(state.rows)), "energy": cut.energy, "foreground": float(cut.labels.mean())}
            state.labels, state.rows = cut.labels, [*state.rows, row]
            yield Progress(done + len(state.rows), total, row)
            yield Preview(outlined(run.image, cut.labels), caption=f"cut {len(state.rows)}, energy {cut.energy:.6g}")
            yield state
    if len(state.rows) <= params.steps:  # nothing changes any more
        yield Progress(total, total)
    return state.labels, state.rows


def _pictures(run: Run[SegmentationParams], mask: Bools, target: Target) -> Iterator[Event]:
    where = torch.from_numpy(mask).to(run.image.device)
    yield Image("mask", where.float(), caption=f"white: the object that {target} depends on")
    yield events.Tensor("mask", where.to(torch.uint8), caption="1 on the object, 0 beyond")
    yield Image("overlay", outlined(run.image, mask), caption="the object in its colours, the rest faded")
    yield Image("cut_out", torch.where(where, run.image, 1.0), caption="the object on white")


def _report(
    run: Run[SegmentationParams], explained: Explained, rows: Rows, mask: Bools, truth: Tensor | None
) -> Iterator[Event]:
    where = torch.from_numpy(mask).to(run.image.device)
    with torch.no_grad():
        alone = torch.where(where, run.image, baseline_of("mean", run.network, run.image))
        scores = {"cut_out_score": float(run.network.score(alone, explained.target))}
    scores |= {
        "energy_first": rows[0]["energy"],
        "energy_last": rows[-1]["energy"],
        "mask_fraction": float(mask.mean()),
    }
    if truth is not None:
        scores["mask_iou"] = iou(where, truth)
    yield Scores(scores)
    if not mask.any():
        yield Note("no pixel was left to the object: its colours are the background's; take seeds=fixed or a blur")
    elif len(rows) <= run.params.steps:
        yield Note(f"every pixel fell to one side after {len(rows)} cuts; take seeds=fixed")
