"""Networks for tests: none downloads anything, and each is made once."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import cast

import torch
from torch import nn

from convscope_sdk.models import ModelSpec
from convscope_sdk.network import Network
from convscope_sdk.torchvision_ops import ensure_torchvision

__all__ = ["RANDOM", "efficientnet", "is_untouched", "lens", "network_of", "random_network", "tiny"]

RANDOM = ("resnet18", "vgg11", "googlenet", "squeezenet1_1", "convnext_atto")
_TIMM = {"convnext_atto": "convnext_atto", "vit_tiny": "vit_tiny_patch16_224"}


@functools.cache
def efficientnet() -> Network:
    """EfficientNet-Lite0 with its ImageNet weights: the one network here that has seen the world."""
    from convscope_server.models.sources.builtin import BuiltinSource

    spec = BuiltinSource().spec("efficientnet_lite0")
    assert spec is not None
    return Network(spec.build(), spec)


@functools.cache
def random_network(name: str) -> Network:
    """One of `RANDOM`, with seeded random weights and no labels."""
    ensure_torchvision()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return lens(_build(name), name=name)


@functools.cache
def tiny() -> Network:
    """Three convolutions and a linear layer on 32 px pictures: 7 classes, in milliseconds."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network_of(
            name="tiny",
            conv1=nn.Conv2d(3, 8, 3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 8, 3, padding=1, stride=2),
            relu2=nn.ReLU(inplace=True),
            conv3=nn.Conv2d(8, 16, 3, padding=1),
            relu3=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(16, 7),
        )


def is_untouched() -> bool:
    """Whether `tiny` is as it was made, for whoever comes next."""
    if not tiny.cache_info().currsize:
        return True
    now, new = tiny().module.state_dict(), tiny.__wrapped__().module.state_dict()
    return all(torch.equal(now[name], new[name]) for name in new)


def network_of(*, name: str = "custom", size: int = 32, **layers: nn.Module) -> Network:
    """A classifier's lens over a chain of layers."""
    return lens(nn.Sequential(OrderedDict(layers)), name=name, size=size)


def lens(module: nn.Module, *, name: str = "custom", size: int = 224) -> Network:
    """A classifier's lens over any module."""
    spec = ModelSpec(name=name, source="tests", build=lambda: module, input_size=size, random_weights=True)
    return Network(module, spec)


def _build(name: str) -> nn.Module:
    if name in _TIMM:
        import timm

        return timm.create_model(_TIMM[name], pretrained=False)
    from torchvision import models

    extra = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    return cast("nn.Module", getattr(models, name)(weights=None, **extra))
