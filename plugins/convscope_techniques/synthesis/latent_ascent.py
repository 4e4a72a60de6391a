"""Gradient ascent in a generator's code space with the rules of Nguyen et al. 2016 (DGN-AM).

"Synthesizing the preferred inputs for neurons in neural networks via deep generator networks", arXiv:1605.09304; the
order of the rules is that of the authors' scripts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convscope_sdk.errors import TechniqueError
from convscope_techniques.synthesis.update import Update

__all__ = ["CodeRules", "LatentAscent"]


@dataclass(frozen=True, slots=True)
class CodeRules:
    """What happens to a code in one step, in this order.

    Attributes:
        steps: How many there are.
        first, last: h += rate · g / mean|g|, for each code of a batch; the rate falls in a line from `first` in the
            first step and would be `last` in the one after the final step.
        noise: Standard deviation of normal noise that is added, by unit, as a part of `sigma` (epsilon 3 of PPGN,
            Nguyen et al. 2017).
        low, high: Bounds of each unit, of the shape of one code; h is clipped to them.
        keep: h *= keep, the L2 rule.
        sigma: Standard deviation of each unit, of the shape of one code.
    """

    steps: int
    first: float
    last: float
    low: Tensor
    high: Tensor
    sigma: Tensor
    keep: float = 0.99
    noise: float = 0.0

    def rate(self, step: int) -> float:
        """The rate of step 0, 1, …."""
        return self.first + (self.last - self.first) * step / self.steps


class LatentAscent(Update):
    """An update that climbs by `rules`; the objective that it gets is to be small.

    The authors take a normalised step in the picture, carry the picture's change back through the generator, and take
    a normalised step with that. The first normalisation cancels in the second: this is the same step.
    """

    def __init__(self, rules: CodeRules) -> None:
        super().__init__()
        self._rules = rules

    def next(self, code: Tensor, value: float, gradient: Tensor) -> Tensor:  # noqa: ARG002 - as every rule
        """The codes one step on; a code whose gradient is zero only decays.

        Raises:
            TechniqueError: every gradient is zero at the start: nothing there moves the target.
        """
        rules, step, uphill = self._rules, self._steps, -gradient
        self._steps += 1
        if step == 0 and not uphill.any():
            raise TechniqueError(
                "the target does not answer to what the generator makes to begin with: its gradient is zero; take "
                "another seed or target",
                reason="NO_GRADIENT",
            )
        mean = uphill.abs().flatten(1).mean(1).clamp(min=torch.finfo(uphill.dtype).tiny)
        moved = code + rules.rate(step) * (uphill / mean.view(-1, *(1,) * (code.ndim - 1)))
        if rules.noise:
            moved = moved + rules.noise * rules.sigma * torch.randn(code.shape).to(code.device)
        return moved.clamp(rules.low, rules.high) * rules.keep
