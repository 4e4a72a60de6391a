"""A generator's codes as what is really optimised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from convscope_sdk.network import Network

__all__ = ["Latent"]

_MAPS = 3


@dataclass(frozen=True, slots=True)
class Latent:
    """Codes, and the pictures that a generator makes of them at one size.

    Attributes:
        generator: A model of kind generator.
        size: Edge of a picture: the middle of what the generator makes, which is enlarged where it is smaller.
        code_shape: Of one code. A generator of maps (C, h, w) is given as many positions as the size takes.
        low, high: Infinite: the update keeps codes within bounds, in an order of its own.
    """

    generator: Network
    size: int
    code_shape: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def of(cls, generator: Network, size: int) -> Latent:
        """For pictures of at least `size` pixels an edge.

        Raises:
            NotApplicable: it is no generator, or gives no pictures.
        """
        own = generator.spec.code_shape
        edge = _edge(generator, own)
        if len(own) == _MAPS and edge % own[-1] == 0:
            positions = math.ceil(size * own[-1] / edge)
            grown = (own[0], positions, positions)
            if _takes(generator, grown, positions * (edge // own[-1])):
                own = grown
        return cls(generator, size, own)

    @property
    def sigma(self) -> Tensor:
        """Standard deviation of each unit, of `code_shape`; of its channel where there are other positions."""
        sigma = self.generator.code_sigma
        if tuple(sigma.shape) == self.code_shape:
            return sigma
        return sigma.mean((1, 2), keepdim=True).broadcast_to(self.code_shape)

    def pixels(self, code: Tensor) -> Tensor:
        """(B, 3, size, size) in [0, 1], differentiable."""
        made = self.generator.generate(code)
        height, width = made.shape[-2:]
        if min(height, width) < self.size:
            made = functional.interpolate(made, size=(self.size, self.size), mode="bilinear", align_corners=False)
            height = width = self.size
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return made[..., top : top + self.size, left : left + self.size]


@torch.no_grad()
def _edge(generator: Network, code_shape: tuple[int, ...]) -> int:
    return generator.generate(torch.zeros(1, *code_shape, device=generator.device)).shape[-1]


def _takes(generator: Network, code_shape: tuple[int, ...], edge: int) -> bool:
    """Whether codes of another number of positions give pictures of that edge: not behind a layer of fixed size."""
    try:
        return _edge(generator, code_shape) == edge
    except RuntimeError:  # torch's, of shapes that do not fit
        return False
