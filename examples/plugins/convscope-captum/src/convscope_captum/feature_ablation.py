"""Feature ablation: what is lost without each part."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field

from convscope_captum.baselines import BASELINE_HELP, Baseline, baseline_of
from convscope_captum.scored import TARGET, TARGET_HELP, Scored, TargetField, quiet, shown
from convscope_captum.segments import Segmentation, segments_of
from convscope_sdk import Event, ImageParams, Preview, Progress, Run, technique

__all__ = ["FeatureAblationParams", "feature_ablation"]


class FeatureAblationParams(ImageParams):
    """Parameters of `captum.feature_ablation`."""

    target: TargetField = Field(TARGET, description=TARGET_HELP)
    segments: Segmentation = Field(
        "grid", description="What is hidden at a time: a cell of a `grid`, or a superpixel (`slic`)."
    )
    count: int = Field(49, ge=2, le=4096, description="About how many parts there are.")
    baseline: Baseline = Field("grey", description=BASELINE_HELP)
    batch: int = Field(4, ge=1, le=256, description="Parts in one step.")


@technique("captum.feature_ablation", needs={"image"}, cites="Kokhlikyan et al. 2020, arXiv:2009.07896")
def feature_ablation(run: Run[FeatureAblationParams]) -> Iterator[Event]:
    """What the score loses where one part of the picture at a time is replaced by a baseline.

    Tensor `attribution`, (1, H, W), has the loss of each pixel's part.
    """
    from captum.attr import FeatureAblation

    params = run.params
    scored = Scored.of(run.network, run.image, params.target)
    yield from scored.events()
    parts = segments_of(run.image, params.segments, params.count)
    reference = baseline_of(params.baseline, run.image)
    count = int(parts.max()) + 1
    lost = torch.zeros_like(run.image[:, :1])
    for start in range(0, count, params.batch):
        # Captum takes all parts of a mask in one call; those of other steps become one part that is not looked at.
        mine = (parts >= start) & (parts < start + params.batch)
        mask = torch.where(mine, parts - start + 1, 0)
        with quiet(), torch.no_grad():
            found = FeatureAblation(scored).attribute(
                run.image, reference, feature_mask=mask, perturbations_per_eval=params.batch
            )
        lost = torch.where(mine, found[:, :1], lost)
        yield Progress(min(start + params.batch, count), count)
        yield Preview(lost[0, 0], caption="so far", heatmap=True)
    what = f"loss of {scored.target} without each of {count} parts"
    yield from shown("feature_ablation", lost, what, parts=count, largest_loss=float(lost.max()))
