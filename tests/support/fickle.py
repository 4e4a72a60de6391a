"""A small network whose mind is easily changed, for attacks and ascents."""

from __future__ import annotations

import functools

import torch
from torch import nn

from convscope_sdk.network import Network
from support.zoo import network_of

__all__ = ["fickle"]


@functools.cache
def fickle() -> Network:
    """Seven classes on 32 px pictures: on noise all logits are near zero, and every class can be reached from it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv, head = nn.Conv2d(3, 16, 5, padding=2), nn.Linear(16 * 16, 7)
        network = network_of(conv=conv, relu=nn.ReLU(), pool=nn.AdaptiveAvgPool2d(4), flat=nn.Flatten(), head=head)
        with torch.no_grad():
            head.weight *= 20
            head.bias -= network.logits(torch.rand(64, 3, 32, 32)).mean(0)
    return network
