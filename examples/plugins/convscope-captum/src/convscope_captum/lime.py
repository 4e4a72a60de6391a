"""LIME: a linear model of the score around one picture (Ribeiro, Singh & Guestrin 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from convscope_captum.baselines import BASELINE_HELP, Baseline, baseline_of
from convscope_captum.scored import TARGET, TARGET_HELP, Scored, TargetField, quiet, shown
from convscope_captum.segments import Segmentation, segments_of
from convscope_sdk import Event, ImageParams, Progress, Run, technique

__all__ = ["LimeParams", "lime"]

_KEPT = 0.5


class LimeParams(ImageParams):
    """Parameters of `captum.lime`."""

    target: TargetField = Field(TARGET, description=TARGET_HELP)
    segments: Segmentation = Field("slic", description="Parts: superpixels (`slic`), or cells of a `grid`.")
    count: int = Field(40, ge=2, le=1024, description="About how many parts there are.")
    samples: int = Field(
        200, ge=2, le=100_000, description="Pictures with some parts hidden that the model is fitted to."
    )
    kernel_width: float = Field(
        0.25, gt=0, le=100, description="How near a sample has to be to count, in cosine distance of what is hidden."
    )
    penalty: float = Field(0.01, ge=0, le=1000, description="Weight of the lasso's penalty: larger leaves fewer parts.")
    baseline: Baseline = Field("mean", description=BASELINE_HELP)
    batch: int = Field(8, ge=1, le=256, description="Samples in one step.")


@technique("captum.lime", needs={"image"}, cites="Ribeiro, Singh & Guestrin 2016, arXiv:1602.04938")
def lime(run: Run[LimeParams]) -> Iterator[Event]:
    """Which parts of the picture speak for the score, by a linear model fitted to pictures with parts hidden.

    Tensor `attribution`, (1, H, W), has the coefficient of each pixel's part; score `fit` is the model's R2 on its own
    samples, weighed as it was fitted.
    """
    params = run.params
    scored = Scored.of(run.network, run.image, params.target)
    yield from scored.events()
    parts = segments_of(run.image, params.segments, params.count)
    reference = baseline_of(params.baseline, run.image)
    kept = torch.rand(params.samples, int(parts.max()) + 1, device=run.image.device) < _KEPT
    kept[0] = True  # the picture itself
    values = torch.zeros(params.samples, device=run.image.device)
    for start in range(0, params.samples, params.batch):
        shown_parts = kept[start : start + params.batch, parts[0, 0]][:, None]
        with torch.no_grad():
            values[start : start + params.batch] = scored(torch.where(shown_parts, run.image, reference))
        yield Progress(min(start + params.batch, params.samples), params.samples)
    with quiet():
        coefficients = _fitted(run.image, kept, values, params)
    attribution = coefficients[parts]
    what = f"weight of each of {kept.shape[1]} parts in a linear model of {scored.target}"
    yield from shown("lime", attribution, what, parts=kept.shape[1], fit=_fit(kept, values, coefficients, params))


def _fitted(image: Tensor, kept: Tensor, values: Tensor, params: LimeParams) -> Tensor:
    """(parts,) coefficients: captum weighs the samples and fits its lasso; the pictures have been through already."""
    from captum._utils.models.linear_model import SkLearnLasso
    from captum.attr import LimeBase

    answers = iter(values)
    samples = iter(kept.float())
    fitted: Tensor = LimeBase(
        forward_func=lambda _pixels: next(answers)[None],
        interpretable_model=SkLearnLasso(alpha=params.penalty),
        similarity_func=lambda _image, _pixels, sample, **_: _nearness(sample, params.kernel_width)[0],
        perturb_func=lambda *_, **__: next(samples)[None],
        perturb_interpretable_space=True,
        from_interp_rep_transform=lambda *_, **__: image,
        to_interp_rep_transform=None,
    ).attribute(image, n_samples=len(kept))
    return fitted.reshape(-1).to(image.device)


def _nearness(kept: Tensor, width: float) -> Tensor:
    """(B,) weight of samples (B, parts): exp(-(cosine distance to the whole picture / width)²)."""
    distance = 1 - kept.float().mean(1).sqrt()
    return torch.exp(-((distance / width) ** 2))


def _fit(kept: Tensor, values: Tensor, coefficients: Tensor, params: LimeParams) -> float:
    """R², as weighed; the intercept is the one that fits best."""
    weight: Any = _nearness(kept, params.kernel_width)
    said = kept.float() @ coefficients
    said = said + ((values - said) * weight).sum() / weight.sum()
    mean = (values * weight).sum() / weight.sum()
    left, all_of_it = (weight * (values - said) ** 2).sum(), (weight * (values - mean) ** 2).sum()
    return float(1 - left / all_of_it) if all_of_it > 0 else 0.0
