"""The loop of PyTorch's tutorial "Neural Transfer Using PyTorch", over any chain of modules, in our own words.

As there: transparent loss modules are put into a chain that ends behind the last of them, parameters are frozen, and
torch's L-BFGS changes the picture, which is clipped before each evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["TutorialStyle"]

STYLE_WEIGHT = 1e6


class TutorialStyle:
    """A picture on its way to a style.

    Args:
        stages: What the network does first to last, by name.
        content, style: (1, 3, H, W) pictures.
        style_layers, content_layer: Stages behind which losses are taken.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        content: Tensor,
        style: Tensor,
        style_layers: Sequence[str],
        content_layer: str,
    ) -> None:
        self._style_losses: list[_Loss] = []
        self._content_losses: list[_Loss] = []
        chain: list[nn.Module] = []
        for name, stage in stages.items():
            chain.append(stage)
            if name == content_layer:
                self._content_losses.append(_Loss(_features(chain, content), nn.Identity()))
                chain.append(self._content_losses[-1])
            if name in style_layers:
                self._style_losses.append(_Loss(_features(chain, style), _Gram()))
                chain.append(self._style_losses[-1])
            if len(self._style_losses) == len(style_layers):
                break
        self._model = nn.Sequential(*chain).eval().requires_grad_(False)
        self._picture = content.clone().requires_grad_()
        self._optimizer = torch.optim.LBFGS([self._picture])
        self._evaluations = 0

    def evaluate(self, evaluations: int) -> None:
        """So many evaluations of the closure, neither more nor, where the optimizer thinks it is done, fewer."""
        wanted = self._evaluations + evaluations
        while (left := wanted - self._evaluations) > 0:
            self._optimizer.param_groups[0].update(max_iter=left, max_eval=left)
            self._optimizer.step(self._closure)  # type: ignore[no-untyped-call]  # torch's

    def _closure(self) -> Tensor:
        self._evaluations += 1
        with torch.no_grad():
            self._picture.clamp_(0, 1)
        self._optimizer.zero_grad()
        self._model(self._picture)
        loss = STYLE_WEIGHT * torch.stack([part.loss for part in self._style_losses]).sum()
        loss = loss + torch.stack([part.loss for part in self._content_losses]).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        return loss


class _Loss(nn.Module):
    """Passes its input on, and keeps how far it is from what is wanted."""

    def __init__(self, features: Tensor, of: nn.Module) -> None:
        super().__init__()
        self._of = of
        self._wanted = of(features).detach()
        self.loss = torch.zeros(())

    def forward(self, features: Tensor) -> Tensor:
        self.loss = functional.mse_loss(self._of(features), self._wanted)
        return features


class _Gram(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        flat = features.view(features.shape[0] * features.shape[1], -1)
        return (flat @ flat.T) / features.numel()


def _features(chain: Sequence[nn.Module], picture: Tensor) -> Tensor:
    with torch.no_grad():
        for module in chain:
            picture = module(picture)
    return picture
