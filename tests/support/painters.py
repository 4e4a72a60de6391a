"""Small generators: none was trained."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from convscope_sdk.models import CodeFacts, ModelSpec
from convscope_sdk.network import Network
from convscope_techniques.generators.inversion_network import InversionNetwork
from convscope_techniques.texture.style_net import StyleNet

__all__ = ["Flat", "generator", "identity", "inverter", "stylizer"]


class Flat(nn.Module):
    """Pictures of 8 px from vectors: a sigmoid behind a matrix."""

    def __init__(self, units: int = 12, edge: int = 8) -> None:
        super().__init__()
        self.edge = edge
        self.paint = nn.Linear(units, 3 * edge * edge)

    def forward(self, code: Tensor) -> Tensor:
        pixels: Tensor = self.paint(code).sigmoid().view(len(code), 3, self.edge, self.edge)
        return pixels


def generator(module: nn.Module, code_shape: tuple[int, ...], codes: CodeFacts | None = None) -> Network:
    """The lens over a module of kind generator, called "painter"."""
    spec = ModelSpec("painter", "tests", lambda: module, kind="generator", code_shape=code_shape, codes=codes)
    return Network(module, spec)


def identity(size: int = 32) -> Network:
    """A generator whose code is the picture."""
    return generator(nn.Identity(), (3, size, size))


@functools.cache
def inverter(layer: str = "relu3", of_model: str = "tiny") -> Network:
    """An untrained inversion network for layer relu3 of `support.zoo.tiny`: (16, 16, 16) to 32 px."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = InversionNetwork((16, 16, 16), (8, 6))
        module.sigma.uniform_(0.2, 1.0)
    return generator(module, (16, 16, 16), CodeFacts(of_model, layer, "sigma"))


@functools.cache
def stylizer() -> Network:
    """A stylizer of random weights that takes and gives values from 0 to 255."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = StyleNet(4, 1)
        with torch.no_grad():
            module.deconv3.conv2d.weight *= 60
            module.deconv3.conv2d.bias += 128
    spec = ModelSpec("stylizer", "tests", lambda: module, kind="stylizer", mean=(0, 0, 0), std=(1 / 255,) * 3)
    return Network(module, spec)
