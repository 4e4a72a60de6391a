"""Pictures as differences to a mean colour, the way Caffe's networks and their visualizers count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from convscope_sdk.network import Network

__all__ = ["UNITS_HELP", "Centred", "Units"]

Units = Literal["bytes", "deviations"]
UNITS_HELP = (
    "What a number of the picture stands for while it is optimised: `bytes`, steps of 1/255 from the network's mean "
    "colour, as Caffe has it, or `deviations` of the network's normalisation."
)


@dataclass(frozen=True, slots=True)
class Centred:
    """A picture less its mean colour, in units of its own. Codes run free; `clipped` brings them into range.

    Attributes:
        mean, unit: (1, 3, 1, 1), of pixels in [0, 1].
        low, high: Infinite.
    """

    mean: Tensor
    unit: Tensor
    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def of(cls, network: Network, units: Units) -> Centred:
        """Around the mean colour of the network's normalisation."""
        mean = torch.tensor(network.spec.mean, device=network.device).view(1, 3, 1, 1)
        deviation = torch.tensor(network.spec.std, device=network.device).view(1, 3, 1, 1)
        return cls(mean, deviation if units == "deviations" else torch.full_like(deviation, 1 / 255))

    def pixels(self, code: Tensor) -> Tensor:
        """The mean colour and unit · code."""
        return self.mean + code * self.unit

    def code(self, pixels: Tensor) -> Tensor:
        """What stands for those pixels."""
        return (pixels - self.mean) / self.unit

    def clipped(self, code: Tensor) -> Tensor:
        """The nearest code of a picture in [0, 1]."""
        return code.clamp(-self.mean / self.unit, (1 - self.mean) / self.unit)

    def stretched(self, pixels: Tensor) -> Tensor:
        """The differences to the mean colour around grey, enlarged until the largest of them is black or white."""
        code = (pixels.detach() - self.mean) / self.unit
        return 0.5 + code / (2 * code.abs().amax()).clamp(min=1e-12)
