"""What a picture is to have more of, and which way that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope_sdk.errors import TechniqueError
from convscope_sdk.network import Network
from convscope_sdk.target import Target
from convscope_techniques.synthesis.guide import Guide
from convscope_techniques.synthesis.tiling import Tiling
from convscope_techniques.synthesis.wish import scores_of

__all__ = ["Dream"]

_AXES = (2, 3)


@dataclass(frozen=True, slots=True)
class Dream:
    """Targets with weights, or layers at which a picture is to be like a guide.

    Attributes:
        network: Who dreams.
        targets: Resolved; layers alone where there is a guide.
        weights: One for each target: what its gradient counts, once each has been brought to the same mean size.
        guide: What is matched in place of ½·‖a‖²; none where None.
        tiling: Windows in which the gradient is computed.
    """

    network: Network
    targets: Sequence[Target]
    weights: Sequence[float]
    guide: Guide | None = None
    tiling: Tiling = Tiling(2**20)  # noqa: RUF009 - frozen: the whole picture at once

    @property
    def name(self) -> str:
        """The targets and their weights, for a person."""
        parts = [str(t) if w == 1 else f"{w:g}·{t}" for t, w in zip(self.targets, self.weights, strict=True)]
        return " + ".join(parts) + (", by the guide" if self.guide else "")

    def scores(self, pixels: Tensor) -> Tensor:
        """(T,) what each target measures in a picture (1, 3, H, W); differentiable."""
        if self.guide is not None:
            return self.guide.scores(pixels, [target.layer or "" for target in self.targets])[:, 0]
        return scores_of(self.network, pixels, self.targets)[:, 0]

    def measured(self, pixels: Tensor) -> list[float]:
        """The scores, in windows where the picture is large."""
        with torch.no_grad():
            _, means = self.tiling.assembled(pixels, lambda window: (window, self._means(window, self.scores(window))))
        return self._sums(pixels, means).tolist()

    def ascended(self, pixels: Tensor, step_size: float, offset: tuple[int, int] = (0, 0)) -> tuple[Tensor, float]:
        """The pixels (1, 3, H, W) after one step of normalised ascent, seen rolled by `offset`; the score before it.

        The mean of |change| is `step_size`.

        Raises:
            TechniqueError: no target has a gradient at this picture.
        """
        rolled = pixels.detach().roll(offset, _AXES)
        gradients, means = self.tiling.assembled(rolled, self._gradients)
        uphill = self._weighted(gradients)
        strength = uphill.abs().mean()
        if not 0 < float(strength) < float("inf"):
            raise TechniqueError(
                f"{self.name} does not answer to this picture: its gradient is {float(strength)}; "
                f"take another target or picture",
                reason="NO_GRADIENT",
            )
        moved = rolled + uphill * (step_size / strength)
        total = (self._sums(rolled, means) * means.new_tensor(self.weights)).sum()
        return moved.roll((-offset[0], -offset[1]), _AXES), float(total)

    def _gradients(self, window: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = window.detach().requires_grad_()
            scores = self.scores(leaf)
            last = len(scores) - 1
            found = [
                torch.autograd.grad(score, leaf, retain_graph=number < last)[0] for number, score in enumerate(scores)
            ]
        return torch.cat(found), self._means(leaf, scores.detach())

    def _means(self, window: Tensor, scores: Tensor) -> Tensor:
        """Scores that do not grow with the window: those of layers are sums over its places."""
        return scores / self._areas(window, scores)

    def _sums(self, pixels: Tensor, means: Tensor) -> Tensor:
        """Scores of a picture from the means of its windows."""
        return means * self._areas(pixels, means)

    def _areas(self, pixels: Tensor, like: Tensor) -> Tensor:
        area = pixels[0, 0].numel()
        return like.new_tensor([area if target.kind == "layer" else 1 for target in self.targets])

    def _weighted(self, gradients: Tensor) -> Tensor:
        """(1, 3, H, W) the sum of gradients (T, 3, H, W) by weight, each first brought to a mean of one."""
        weights = gradients.new_tensor(self.weights)
        if len(weights) > 1:
            strengths = gradients.abs().mean((1, 2, 3))
            weights = weights / strengths.clamp(min=torch.finfo(gradients.dtype).tiny)
        return (gradients * weights.view(-1, 1, 1, 1)).sum(0, keepdim=True)
