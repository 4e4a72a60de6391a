"""Which pixels the score is most sensitive to (Simonyan et al. 2013)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field

from convscope_sdk.events import Event, Heatmap, ImageGrid, Tensor
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.target import Target
from convscope_sdk.together import together
from convscope_techniques.attribution.attribution import Found, Reporting, attribution
from convscope_techniques.attribution.explained import Explained, scored_each
from convscope_techniques.attribution.params import AttributionParams

__all__ = ["Reduce", "SaliencyParams", "reduced", "saliency", "scored_gradients"]

Reduce = Literal["max", "mean", "none"]


class SaliencyParams(AttributionParams):
    """Parameters of `saliency`; the defaults are the paper's."""

    reduce: Reduce = Field(
        "max",
        description=(
            "How the three colour channels become one map: the `max` of the magnitudes (the paper), their "
            "`mean`, or `none` for one map each."
        ),
    )
    signed: bool = Field(
        False, description="Keep the gradient's sign; with `max` the channel of largest magnitude gives it."
    )
    times_input: bool = Field(False, description="Multiply the gradient by the pixel: gradient x input.")


@attribution(
    "saliency",
    needs={"image", "gradients", "classes"},
    cites="Simonyan, Vedaldi & Zisserman 2013, arXiv:1312.6034",
    batchable=True,
)
def saliency(run: Run[SaliencyParams]) -> Reporting:
    """Which pixels change the score most: the magnitude of its gradient with respect to the picture.

    The score is unnormalised (the logit, not the probability), the pixels are in [0, 1], and the map is
    max over channels of |gradient|. Tensor `gradient` is the raw gradient, (3, H, W).
    """
    params = run.params
    score, logits, gradient = yield from together(scored_gradients, run.network, run.image, target=params.target)
    target = run.network.resolve(params.target, run.image, logits=logits)
    explained = Explained(target, score, logits)
    yield from explained.events(run.network)
    sensitivity = gradient * run.image if params.times_input else gradient
    values = reduced(sensitivity, params.reduce, signed=params.signed)[0]
    caption = f"sensitivity of {explained.target} to each pixel"
    if params.reduce == "none":
        yield from _by_channel(values, caption)
    else:
        yield Heatmap("saliency", values[0], signed=params.signed, caption=caption)
    yield Tensor("gradient", gradient[0], caption="of the score with respect to pixels in [0, 1]")
    shown = reduced(sensitivity, "max", signed=params.signed)[0] if params.reduce == "none" else values
    return Found(shown[0], explained.target)


def scored_gradients(
    network: Network, pixels: torch.Tensor, *, target: Target
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(B,) scores, (B, classes) logits and (B, 3, H, W) gradients: each picture's own, in one pass there and back."""
    with torch.enable_grad():
        leaf = pixels.detach().requires_grad_()
        score, logits = scored_each(network, leaf, target)
        (gradient,) = torch.autograd.grad(score.sum(), leaf)
    return score.detach(), logits.detach(), gradient


def reduced(gradient: torch.Tensor, reduce: Reduce, *, signed: bool = False) -> torch.Tensor:
    """(B, 3, H, W) gradients as (B, 1, H, W) maps, or (B, 3, H, W) for `none`; magnitudes unless `signed`."""
    magnitude = gradient.abs()
    kept = gradient if signed else magnitude
    if reduce == "max":
        return kept.gather(1, magnitude.argmax(1, keepdim=True))
    return kept.mean(1, keepdim=True) if reduce == "mean" else kept


def _by_channel(values: torch.Tensor, caption: str) -> Iterator[Event]:
    limit = float(values.abs().max()) or 1.0
    low = -limit if values.min() < 0 else 0.0
    tiles = (values - low) / (limit - low)
    labels = ("red", "green", "blue")
    yield ImageGrid("saliency", tiles[:, None], labels=labels, columns=3, value_range=(low, limit), caption=caption)
    yield Tensor("saliency", values, caption=caption)
