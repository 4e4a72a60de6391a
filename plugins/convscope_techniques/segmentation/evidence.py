"""The saliency that a segmentation starts from: of the picture, of its ten crops, or of noisy copies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from convscope_sdk.network import Network
from convscope_sdk.params import ImageParams
from convscope_sdk.target import Target
from convscope_techniques.attribution.baseline import blurred
from convscope_techniques.attribution.explained import DEFAULT_TARGET, TARGET_HELP, TargetField
from convscope_techniques.attribution.gradients import gradients
from convscope_techniques.attribution.saliency import reduced
from convscope_techniques.segmentation.views import View, ten_crops

__all__ = ["Average", "EvidenceParams"]


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


@dataclass(frozen=True, slots=True)
class Average(ABC):
    """A saliency that is averaged over passes through the network: each adds its part to a total.

    Attributes:
        network: The network.
        image: (1, 3, H, W) the picture.
        target: What it is about, resolved.
        how: Whose saliency is taken.
        batch: Pictures in one pass, where there are many.
    """

    network: Network
    image: Tensor
    target: Target
    how: EvidenceParams
    batch: int

    @staticmethod
    def of(network: Network, image: Tensor, target: Target, how: EvidenceParams, *, batch: int) -> Average:
        """The one that the parameters ask for."""
        kinds: Mapping[str, type[Average]] = {"crops": _OfCrops, "noise": _OfNoise, "none": _OfPicture}
        return kinds[how.average](network, image, target, how, batch)

    @property
    @abstractmethod
    def passes(self) -> int:
        """How many there are."""

    @abstractmethod
    def part(self, number: int) -> Tensor:
        """What the pass of that number, from 0, adds to the total."""

    @abstractmethod
    def mean(self, total: Tensor, done: int) -> Tensor:
        """(H, W) largest magnitudes over colours of the total of the first `done` passes, averaged over those."""

    def saliency(self, total: Tensor, done: int) -> Tensor:
        """The mean, under a Gaussian where one was asked for."""
        found = self.mean(total, done)
        return blurred(found[None, None], self.how.blur)[0, 0] if self.how.blur else found


class _OfPicture(Average):
    __slots__ = ()

    @property
    def passes(self) -> int:
        return 1

    def part(self, _number: int) -> Tensor:
        return gradients(self.network, self.image, self.target)

    def mean(self, total: Tensor, _done: int) -> Tensor:
        return reduced(total, "max")[0, 0]


class _OfCrops(Average):
    """The mean at each pixel over the crops that show it."""

    __slots__ = ()

    @property
    def passes(self) -> int:
        return len(self._views)

    def part(self, number: int) -> Tensor:
        return reduced(self._views[number].gradient(self.network, self.image, self.target), "max")[0, 0]

    def mean(self, total: Tensor, done: int) -> Tensor:
        times = torch.stack([view.cover(self.image) for view in self._views[:done]]).sum(0)
        return total / times.clamp(min=1)

    @property
    def _views(self) -> tuple[View, ...]:
        return ten_crops(*self.image.shape[-2:])


class _OfNoise(Average):
    """Of the mean gradient over copies with noise, drawn on the CPU one at a time, as SmoothGrad's."""

    __slots__ = ()

    @property
    def passes(self) -> int:
        return -(-self.how.samples // self.batch)

    def part(self, number: int) -> Tensor:
        deviation = self.how.sigma * (self.image.max() - self.image.min())
        count = min(self.batch, self.how.samples - number * self.batch)
        noise = torch.stack([torch.randn(self.image.shape[1:]) for _ in range(count)]).to(self.image)
        return gradients(self.network, self.image + deviation * noise, self.target).sum(0, keepdim=True)

    def mean(self, total: Tensor, done: int) -> Tensor:
        return reduced(total / min(done * self.batch, self.how.samples), "max")[0, 0]
