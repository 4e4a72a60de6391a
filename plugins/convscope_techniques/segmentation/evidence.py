"""The saliency that a segmentation starts from: of the picture, of its ten crops, or of noisy copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from convscope_sdk.network import Network
from convscope_sdk.params import ImageParams
from convscope_sdk.target import Target
from convscope_techniques.attribution.baseline import blurred
from convscope_techniques.attribution.batches import batch_size
from convscope_techniques.attribution.explained import DEFAULT_TARGET, TARGET_HELP, TargetField
from convscope_techniques.attribution.gradients import gradients
from convscope_techniques.attribution.saliency import reduced
from convscope_techniques.segmentation.views import ten_crops

__all__ = ["EvidenceParams", "passes", "saliencies"]


class EvidenceParams(ImageParams):
    """Whose saliency is taken, and how it is smoothed."""

    target: TargetField = Field(DEFAULT_TARGET, description=TARGET_HELP)
    average: Literal["crops", "noise", "none"] = Field(
        "crops",
        description=(
            "What the saliency is averaged over: ten `crops`, corners and centre, mirrored too (the paper); `noise`, "
            "`samples` noisy copies, as SmoothGrad; or `none`, the picture alone."
        ),
    )
    samples: int = Field(50, ge=1, le=10_000, description="Noisy copies of the picture, for average=noise.")
    sigma: float = Field(
        0.15, ge=0, le=1, description="Standard deviation of the noise, as a fraction of the picture's range."
    )
    blur: float = Field(
        0.0,
        ge=0,
        le=64,
        description="Standard deviation, pixels, of a Gaussian over the saliency; the paper has none.",
    )


def passes(network: Network, image: Tensor, how: EvidenceParams) -> int:
    """How many maps `saliencies` gives."""
    if how.average == "noise":
        return -(-how.samples // batch_size(network, image, gradients=True))
    return 10 if how.average == "crops" else 1


def saliencies(network: Network, image: Tensor, target: Target, how: EvidenceParams) -> Iterator[Tensor]:
    """(H, W) largest magnitudes over colours, averaged over what has been seen so far; the last is the result."""
    averages = {"crops": _of_crops, "noise": _of_noise, "none": _of_picture}
    for found in averages[how.average](network, image, target, how):
        yield blurred(found[None, None], how.blur)[0, 0] if how.blur else found


def _of_picture(network: Network, image: Tensor, target: Target, _how: EvidenceParams) -> Iterator[Tensor]:
    yield reduced(gradients(network, image, target), "max")[0, 0]


def _of_crops(network: Network, image: Tensor, target: Target, _how: EvidenceParams) -> Iterator[Tensor]:
    """The mean at each pixel over the crops that show it."""
    total, times = torch.zeros_like(image[0, 0]), torch.zeros_like(image[0, 0])
    for view in ten_crops(*image.shape[-2:]):
        total += reduced(view.gradient(network, image, target), "max")[0, 0]
        times[view.rows, view.columns] += 1
        yield total / times.clamp(min=1)


def _of_noise(network: Network, image: Tensor, target: Target, how: EvidenceParams) -> Iterator[Tensor]:
    """Of the mean gradient over copies with noise, drawn on the CPU one at a time, as SmoothGrad's."""
    deviation = how.sigma * (image.max() - image.min())
    batch, total, done = batch_size(network, image, gradients=True), torch.zeros_like(image), 0
    while done < how.samples:
        count = min(batch, how.samples - done)
        noise = torch.stack([torch.randn(image.shape[1:]) for _ in range(count)]).to(image)
        total += gradients(network, image + deviation * noise, target).sum(0)
        done += count
        yield reduced(total / done, "max")[0, 0]
