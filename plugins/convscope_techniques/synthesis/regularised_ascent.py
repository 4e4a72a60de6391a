"""Gradient ascent with the rules of Yosinski et al. 2015 that make its pictures look like something.

"Understanding Neural Networks Through Deep Visualization", arXiv:1506.06579; the order of the rules, their strict
comparisons and the "progress" step are those of the authors' deep-visualization-toolbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from convscope_sdk.errors import TechniqueError
from convscope_techniques.synthesis.centred import Centred
from convscope_techniques.synthesis.update import Update

__all__ = ["RegularisedAscent", "Rules", "Schedule", "gaussian_blurred", "without_small"]

Schedule = Literal["constant", "progress", "normalised"]

_TRUNCATE = 4.0  # scipy.ndimage's


@dataclass(frozen=True, slots=True)
class Rules:
    """What happens to a code in one step, in this order; a zero switches a rule off.

    Attributes:
        step_size: x += step_size · g. With `progress` the most that g is multiplied with.
        schedule: "constant"; "progress", min(step_size, progress / ‖g‖²); "normalised", step_size / ‖g‖.
        progress: What the objective is to gain in a step, to first order.
        decay: x *= 1 - decay.
        blur_radius, blur_every: Standard deviation of a Gaussian, applied in steps 0, blur_every, ….
        small_norm: Pixels whose norm over the colours is below this percentile become mean colour.
        small_contribution: So do those with |sum of x·g over the colours| below this percentile.
    """

    step_size: float
    schedule: Schedule = "constant"
    progress: float = 2.0
    decay: float = 0.0
    blur_radius: float = 0.0
    blur_every: int = 0
    small_norm: float = 0.0
    small_contribution: float = 0.0


class RegularisedAscent(Update):
    """An update that climbs by `rules` and keeps the picture in range; the objective that it gets is to be small."""

    def __init__(self, rules: Rules, canvas: Centred) -> None:
        super().__init__()
        self._rules = rules
        self._canvas = canvas

    def next(self, code: Tensor, value: float, gradient: Tensor) -> Tensor:  # noqa: ARG002 - as every rule
        """The code one step on.

        Raises:
            TechniqueError: the gradient is zero at the start: nothing there moves the target.
        """
        rules, step, uphill = self._rules, self._steps, -gradient
        self._steps += 1
        if step == 0 and not uphill.any():
            raise TechniqueError(
                "the target does not answer to the picture to begin with: its gradient is zero; begin with noise or "
                "another picture, or take another target",
                reason="NO_GRADIENT",
            )
        moved = (code + self._rate(uphill) * uphill) * (1 - rules.decay)
        if rules.blur_every and rules.blur_radius and step % rules.blur_every == 0:
            moved = gaussian_blurred(moved, rules.blur_radius)
        if rules.small_norm:
            moved = without_small(moved, moved.norm(dim=1, keepdim=True), rules.small_norm)
        if rules.small_contribution:
            contribution = (moved * uphill).sum(1, keepdim=True).abs()
            moved = without_small(moved, contribution, rules.small_contribution)
        return self._canvas.clipped(moved)

    def _rate(self, uphill: Tensor) -> float:
        rules, norm = self._rules, max(float(uphill.norm()), 1e-18)
        if rules.schedule == "progress":
            return min(rules.step_size, rules.progress / norm**2)
        return rules.step_size / norm if rules.schedule == "normalised" else rules.step_size


def without_small(code: Tensor, amount: Tensor, percentile: float) -> Tensor:
    """The code (B, 3, H, W), zero where the amount (B, 1, H, W) is below its percentile (0 to 100) in each picture."""
    limit = amount.flatten(1).quantile(percentile / 100, dim=1).view(-1, 1, 1, 1)
    return code.masked_fill(amount < limit, 0)


def gaussian_blurred(code: Tensor, radius: float) -> Tensor:
    """Each channel of (B, C, H, W) under a Gaussian of standard deviation `radius`, as scipy.ndimage has it.

    Cut at four deviations; beyond the border the picture is mirrored, its edge pixels repeated.
    """
    reach = int(_TRUNCATE * radius + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=code.dtype, device=code.device)
    kernel = (-0.5 * (offsets / radius) ** 2).exp()
    kernel = kernel / kernel.sum()
    flat = code.flatten(0, 1)[:, None]
    down = functional.conv2d(_mirrored(flat, 2, reach), kernel.view(1, 1, -1, 1))
    return functional.conv2d(_mirrored(down, 3, reach), kernel.view(1, 1, 1, -1)).view_as(code)


def _mirrored(flat: Tensor, axis: int, reach: int) -> Tensor:
    length = flat.shape[axis]
    index = torch.arange(-reach, length + reach, device=flat.device) % (2 * length)
    return flat.index_select(axis, torch.minimum(index, 2 * length - 1 - index))
