"""The score's gradient with respect to pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope_sdk.network import Network
from convscope_sdk.target import Target

__all__ = ["gradients"]


def gradients(network: Network, pixels: Tensor, target: Target) -> Tensor:
    """(B, 3, H, W): each picture's own gradient of a resolved target; one forward and one backward pass."""
    leaf = pixels.detach().requires_grad_()
    with torch.enable_grad():
        score = network.score(leaf, target).sum()
        (gradient,) = torch.autograd.grad(score, leaf)
    return gradient
