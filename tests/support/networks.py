"""Tiny seeded networks, one for each way of writing a network that the lens has to see through."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import _get_current_function_mode_stack

from convscope_sdk.models import ModelSpec
from convscope_sdk.network import Network
from convscope_sdk.torchvision_ops import ensure_torchvision

CLASSES = 10
SIZE = 32
LABELS = (
    "tench, Tinca tinca",
    "crane",
    "Egyptian cat",
    "tabby, tabby cat",
    "crane",
    "espresso",
    "moped",
    "red wine",
    "red fox, Vulpes vulpes",
    "rocket",
)


class PlainNet(nn.Module):
    """Convolutions, each followed by an in-place nn.ReLU of its own, and two linear layers: vgg's way."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(12, 16), nn.ReLU(inplace=True), nn.Linear(16, CLASSES))

    def forward(self, x: Tensor) -> Any:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Block(nn.Module):
    """A residual block: one in-place nn.ReLU used twice, and `+=`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Any:
        out = self.conv2(self.relu(self.bn1(self.conv1(x))))
        out += x
        return self.relu(out)


class ResidualNet(nn.Module):
    """resnet's way."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.layer1 = nn.Sequential(Block(8), Block(8))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.fc(torch.flatten(self.avgpool(self.layer1(self.stem(x))), 1))


class FunctionalNet(nn.Module):
    """Functions where others have modules, in place and not, with branches: googlenet's way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.left = nn.Conv2d(8, 6, 1)
        self.right = nn.Conv2d(8, 6, 3, padding=1)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = functional.relu(self.conv1(x), inplace=True)
        x = functional.max_pool2d(x, 2)
        x = torch.cat([self.left(x).relu_(), functional.relu6(self.right(x))], 1)
        return self.fc(x.mean((2, 3)))


class GeluNet(nn.Module):
    """No ReLU anywhere, a gate on whole channels, and a layer norm over channels: convnext's way, more or less."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.LayerNorm(8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.act = nn.GELU()
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.act(x)
        x = x * self.gate(functional.adaptive_avg_pool2d(x, 1)).sigmoid()
        return self.head(x.mean((2, 3)))


class TokenNet(nn.Module):
    """Patches, one attention block, and the mean token: a transformer's way."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 8, stride=8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Any:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        tokens = tokens + self.mlp(self.norm(tokens))
        return self.head(tokens.mean(1))


EVERY_NET: Sequence[Callable[[], nn.Module]] = (PlainNet, ResidualNet, FunctionalNet, GeluNet, TokenNet)


def network(
    factory: Callable[[], nn.Module],
    *,
    size: int = SIZE,
    classes: Sequence[str] = LABELS,
    seed: int = 0,
    device: str = "cpu",
) -> Network:
    """A network of seeded random weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        module = factory()
        # Means and variances as after training, so that batch norms do something.
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                norm.running_mean.uniform_(-0.1, 0.1)
                norm.running_var.uniform_(0.5, 1.5)
    name = getattr(factory, "__name__", "network")
    spec = ModelSpec(name, "tests", factory, input_size=size, classes=tuple(classes), random_weights=True)
    return Network(module, spec, device=device)


@functools.cache
def torchvision_network(name: str, *, size: int = 64, device: str = "cpu") -> Network:
    """A torchvision architecture with seeded random weights, made once: leave it as it is."""
    ensure_torchvision()
    from torchvision import models

    options = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    return network(lambda: models.get_model(name, weights=None, **options), size=size, classes=(), device=device)


@functools.cache
def timm_network(name: str, *, size: int = 64) -> Network:
    """A timm architecture with seeded random weights, made once: leave it as it is."""
    ensure_torchvision()
    import timm

    return network(lambda: timm.create_model(name, pretrained=False), size=size, classes=())


def out_of_place(net: Network) -> nn.Module:
    """A copy of its module in which no activation overwrites its input."""
    module = copy.deepcopy(net.module)
    for part in module.modules():
        if isinstance(part, nn.ReLU | nn.ReLU6 | nn.Dropout):
            part.inplace = False
    return module


def picture(*, size: int = SIZE, batch: int = 1, seed: int = 1, requires_grad: bool = False) -> Tensor:
    """Seeded noise as pixels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, size, size, generator=generator).requires_grad_(requires_grad)


def function_modes() -> list[Any]:
    """The function modes that are on in this thread."""
    modes: list[Any] = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]  # torch's
    return modes
