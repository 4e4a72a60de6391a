"""Which maps of a layer, used as masks, keep the score: class-activation maps without gradients (Wang et al. 2020)."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from convscope_sdk.events import Event, Note, Preview, Progress, Scores
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.target import Target
from convscope_techniques.attribution.attribution import Found, Reporting, attribution
from convscope_techniques.attribution.baseline import BASELINE_HELP, Baseline, baseline_of
from convscope_techniques.attribution.batches import BATCH_HELP, BatchField, batch_size
from convscope_techniques.attribution.cam import CamParams, cam_results, drawn, observe
from convscope_techniques.layout import for_convolutions

__all__ = ["ScoreCamParams", "masks", "score_cam", "score_weighted"]


class ScoreCamParams(CamParams):
    """Parameters of `score_cam`; the defaults are those of the paper's code."""

    baseline: Baseline = Field("mean", description=BASELINE_HELP)
    k: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="Score only the k maps of a layer that vary most, for speed; all where absent, as the paper does.",
    )
    batch: BatchField = Field(None, description=BATCH_HELP)


@attribution(
    "score_cam",
    needs={"image", "classes", "spatial_layer"},
    cites="Wang et al. 2020, arXiv:1910.01279",
)
def score_cam(run: Run[ScoreCamParams]) -> Reporting:
    """Where the network looked for a class, without gradients: maps weighted by the score that each keeps as a mask.

    Map k, brought to the picture's size and then to [0, 1], is the mask H_k; what it hides becomes the baseline.
    With f the logit, weights are the softmax over maps of f(x under H_k) - f(baseline), and tensor `cam`, (h, w),
    is ReLU(sum of w_k A_k). One forward pass for each map that is not constant; constant maps hide everything,
    so they share one.
    """
    network, image, params = run.network, run.image, run.params
    with torch.no_grad():
        maps, explained = observe(network, image, params.target, params.names(network))
        hidden = baseline_of(params.baseline, network, image).expand_as(image)
        floor = float(network.score(hidden, explained.target))
    yield from explained.events(network)
    yield Note(f"masks hide the picture behind {params.baseline}, which scores {floor:.4g}")
    plans = {layer: _plan(values, params.k, floor) for layer, values in maps.items()}
    total, count = _masks_in(plans), sum(values.shape[1] for values in maps.values())
    if total < count:
        yield Note(f"{total} of {count} maps are used as masks; the others are constant or below k")
    cams, batch = yield from _scored(run, maps, plans, explained.target)
    values = yield from cam_results("score_cam", cams, image, what=f"evidence for {explained.target}")
    yield Scores({"baseline_score": floor, "masks": float(total)})
    return Found(values, explained.target, batch)


def masks(maps: Tensor, image: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1] of maps (B, h, w) that are not constant: upsampled first, as in the paper."""
    size = image.shape[-2:]
    large = functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    return (large - low) / (high - low).clamp(min=torch.finfo(large.dtype).tiny)


def score_weighted(maps: Tensor, scores: Tensor) -> Tensor:
    """(1, 1, h, w): ReLU of the sum of maps, (1, C, h, w), weighted by the softmax of their scores, (C,)."""
    weights = scores.softmax(0).view(1, -1, 1, 1)
    return (weights * maps).sum(1, keepdim=True).relu()


def _plan(maps: Tensor, k: int | None, floor: float) -> tuple[Tensor, Tensor]:
    """The channels to score, and the scores, (C,), before that: a constant map hides everything, as the baseline."""
    flat = maps[0].flatten(1)
    varying = (flat.amax(1) > flat.amin(1)).nonzero()[:, 0]
    scores = maps.new_full((maps.shape[1],), floor)
    if k is None or len(varying) <= k:
        return varying, scores
    order = flat[varying].std(1).argsort(descending=True)
    scores[varying[order[k:]]] = -torch.inf
    return varying[order[:k]].sort().values, scores


def _scored(
    run: Run[ScoreCamParams], maps: Mapping[str, Tensor], plans: Mapping[str, tuple[Tensor, Tensor]], target: Target
) -> Generator[Event, None, tuple[dict[str, Tensor], int]]:
    """The maps' cams, as scores come in; and how many at once, before thrift."""
    total, cams = _masks_in(plans), {}
    batch = run.params.batch or batch_size(run.network, run.image, part=0.5)
    first = {layer: scores for layer, (_, scores) in plans.items()}
    with run.state("score_cam", scores=first, done=dict.fromkeys(plans, 0), batch=batch) as state:
        for layer, values in maps.items():
            chosen, scores = plans[layer][0], state.scores[layer]
            cams[layer] = score_weighted(values, scores)
            while (start := state.done[layer]) < len(chosen):
                channels = chosen[start : start + run.inner_batch(state.batch)]
                scores[channels] = _scores(run, values[0, channels], target)
                state.done[layer] += len(channels)
                cams[layer] = score_weighted(values, scores)
                done = sum(state.done.values())
                yield Progress(done, total, {"highest_score": float(scores[channels].max())})
                yield Preview(drawn(cams, run.image), caption=f"{done} of {total} masks", heatmap=True)
                yield state
    return cams, state.batch


def _masks_in(plans: Mapping[str, tuple[Tensor, Tensor]]) -> int:
    return sum(len(chosen) for chosen, _ in plans.values())


@torch.no_grad()
def _scores(run: Run[ScoreCamParams], maps: Tensor, target: Target) -> Tensor:
    network: Network = run.network
    hidden = baseline_of(run.params.baseline, network, run.image)
    return network.score(for_convolutions(torch.lerp(hidden, run.image, masks(maps, run.image))), target)
