"""Tiny seeded networks, one for each way of writing a network; each call makes a new one, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope_sdk.models import ModelKind, ModelSpec
from convscope_sdk.network import Network

__all__ = ["BY_NEED", "CLASSIFIERS", "SIZE", "flat", "frozen", "headless", "painter", "stylizer"]

SIZE = 64
_CODE = (6,)
_LABELS = ("tench", "crane", "Egyptian cat", "tabby", "espresso", "moped", "red wine", "red fox", "rocket", "bubble")


class _Plain(nn.Module):
    """Convolutions with an in-place nn.ReLU each, and two linear layers: vgg's way."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(12, 16), nn.ReLU(inplace=True), nn.Linear(16, len(_LABELS)))

    def forward(self, x: Tensor) -> Any:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


class _Block(nn.Module):
    """A residual block: one in-place nn.ReLU used twice, and `+=`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Any:
        out = self.conv2(self.relu(self.norm(self.conv1(x))))
        out += x
        return self.relu(out)


class _Residual(nn.Module):
    """resnet's way."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.layer1 = nn.Sequential(_Block(8), _Block(8))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, len(_LABELS))

    def forward(self, x: Tensor) -> Any:
        return self.fc(torch.flatten(self.pool(self.layer1(self.stem(x))), 1))


class _FunctionalReLU(nn.Module):
    """Functions where others have modules, in place and not, with branches: googlenet's way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.left = nn.Conv2d(8, 6, 1)
        self.right = nn.Conv2d(8, 6, 3, padding=1)
        self.fc = nn.Linear(12, len(_LABELS))

    def forward(self, x: Tensor) -> Any:
        x = functional.max_pool2d(functional.relu(self.conv1(x), inplace=True), 2)
        x = torch.cat([self.left(x).relu_(), functional.relu6(self.right(x))], 1)
        return self.fc(x.mean((2, 3)))


class _ViT(nn.Module):
    """Patches, a class token, one attention block with GELU: a vision transformer's way."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 16, stride=16)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, len(_LABELS))

    def forward(self, x: Tensor) -> Any:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1)
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        tokens = tokens + self.mlp(self.norm(tokens))
        return self.head(tokens[:, 0])


class _Painter(nn.Module):
    """Pictures of six numbers: a sigmoid behind a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.paint = nn.Linear(*_CODE, 3 * SIZE * SIZE)

    def forward(self, code: Tensor) -> Any:
        return self.paint(code).sigmoid().view(len(code), 3, SIZE, SIZE)


class _Frozen(nn.Module):
    """A network that gives no gradients, as one behind a compiled runtime would."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = _Plain()

    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            return self.inner(x.detach())


class _Flat(nn.Module):
    """A network that knows the mean colour only."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, len(_LABELS)))

    def forward(self, x: Tensor) -> Any:
        return self.layers(x.mean((2, 3)))


def _headless() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.ReLU())


def _made(
    name: str, build: Callable[[], nn.Module], kind: ModelKind = "classifier", *, code_shape: tuple[int, ...] = ()
) -> Network:
    """A network with weights of its own seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build()
    labels = _LABELS if kind == "classifier" else ()
    spec = ModelSpec(
        name,
        "conformance",
        build,
        kind=kind,
        input_size=SIZE,
        classes=labels,
        random_weights=True,
        code_shape=code_shape,
    )
    return Network(module, spec)


def frozen() -> Network:
    """A classifier without gradients."""
    return _made("frozen", _Frozen)


def headless() -> Network:
    """A network whose output is a map of features: it has no classes."""
    return _made("headless", _headless, "stylizer")


def stylizer() -> Network:
    """A network that gives a picture of its input's size, normalised alike."""
    return _made("stylizer", lambda: nn.Conv2d(3, 3, 3, padding=1), "stylizer")


def painter() -> Network:
    """A generator: pictures of six numbers."""
    return _made("painter", _Painter, "generator", code_shape=_CODE)


def flat() -> Network:
    """A classifier of linear layers only: no layer of it has positions."""
    return _made("flat", _Flat)


CLASSIFIERS: Mapping[str, Callable[[], Network]] = {
    "plain": lambda: _made("plain", _Plain),
    "residual": lambda: _made("residual", _Residual),
    "functional_relu": lambda: _made("functional_relu", _FunctionalReLU),
    "vit": lambda: _made("vit", _ViT),
}
"""The networks that a technique is tried on, by name."""

BY_NEED: Mapping[str, Mapping[str, Callable[[], Network]]] = {
    "generator": {"painter": painter},
    "stylizer": {"stylizer": stylizer},
}
"""What it is tried on instead where it declares a need of another kind of model."""
