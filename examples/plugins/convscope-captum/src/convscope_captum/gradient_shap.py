"""GradientSHAP: expected gradients (Lundberg & Lee 2017; Erion et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field

from convscope_captum.baselines import baseline_of
from convscope_captum.scored import TARGET, TARGET_HELP, Scored, TargetField, quiet, shown
from convscope_sdk import Event, ImageParams, Preview, Progress, Run, technique

__all__ = ["GradientShapParams", "gradient_shap"]


class GradientShapParams(ImageParams):
    """Parameters of `captum.gradient_shap`."""

    target: TargetField = Field(TARGET, description=TARGET_HELP)
    samples: int = Field(24, ge=1, le=10_000, description="Points between a baseline and the picture.")
    noise: float = Field(
        0.05, ge=0, le=1, description="Standard deviation of the noise on each point, pixels in [0, 1]."
    )
    batch: int = Field(4, ge=1, le=256, description="Points in one forward pass.")


@technique("captum.gradient_shap", needs={"image", "gradients"}, cites="Lundberg & Lee 2017, arXiv:1705.07874")
def gradient_shap(run: Run[GradientShapParams]) -> Iterator[Event]:
    """What each pixel contributes on average over noisy ways from black, grey and blurred baselines to the picture.

    Contributions sum to f(picture) minus the mean of f over the baselines, but for the noise of sampling; score
    `completeness_gap` is what is missing. Tensor `attribution` has them by colour, (3, H, W).
    """
    from captum.attr import GradientShap

    params = run.params
    scored = Scored.of(run.network, run.image, params.target)
    yield from scored.events()
    baselines = torch.cat([baseline_of(name, run.image) for name in ("black", "grey", "blur")])
    total = torch.zeros_like(run.image)
    for done in range(0, params.samples, params.batch):
        count = min(params.batch, params.samples - done)
        with quiet():
            mean = GradientShap(scored).attribute(run.image, baselines, n_samples=count, stdevs=params.noise)
        total += mean.detach() * count
        yield Progress(done + count, params.samples)
        yield Preview((total / (done + count)).sum(1)[0], caption="so far", heatmap=True)
    attribution = total / params.samples
    with torch.no_grad():
        expected = float(scored(run.image)) - float(scored(baselines).mean())
    what = f"mean contribution to {scored.target} over {params.samples} points"
    yield from shown("gradient_shap", attribution, what, completeness_gap=abs(expected - float(attribution.sum())))
