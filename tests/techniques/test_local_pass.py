from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convscope_sdk.errors import NotApplicable
from convscope_sdk.network import Network
from convscope_techniques.attribution.local_pass import LocalPass
from convscope_techniques.attribution.windows import Windows
from support.zoo import efficientnet, lens, network_of, random_network, tiny

WINDOW = 8


def occluded(size: tuple[int, int], window: int = WINDOW) -> tuple[Tensor, Windows, Tensor]:
    """A picture, windows over it, and the picture behind each."""
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    windows = Windows.over(*size, window, window - 1)
    return image, windows, torch.where(windows.masks(0, len(windows)), 0.5, image)


def local_pass(network: Network, image: Tensor, windows: Windows, pixels: Tensor, window: int) -> LocalPass | None:
    last = len(windows) - 1
    return LocalPass.around(network, image, window, pixels[last:], windows.boxes(last, last + 1))


@pytest.mark.parametrize("size", [(64, 64), (97, 71), (40, 100)])
def test_logits_are_those_of_the_whole_pictures_wherever_the_window_stands(size: tuple[int, int]) -> None:
    image, windows, pixels = occluded(size)
    local = local_pass(tiny(), image, windows, pixels, WINDOW)
    assert local is not None
    found = local.logits(pixels, windows.boxes(0, len(windows)))
    assert torch.allclose(found, tiny().logits(pixels), atol=1e-6)


@pytest.mark.parametrize("network", [efficientnet(), random_network("resnet18"), random_network("vgg11")])
def test_real_networks_have_such_a_pass(network: Network) -> None:
    image, windows, pixels = occluded((160, 192), 24)
    chosen = slice(len(windows) // 2, len(windows) // 2 + 3)
    local = local_pass(network, image, windows, pixels, 24)
    assert local is not None
    with torch.no_grad():
        expected = network.logits(pixels[chosen])
        found = local.logits(pixels[chosen], windows.boxes(chosen.start, chosen.stop))
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


class Doubled(nn.Module):
    """Computes in double precision."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner = module.double()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x.double())
        return logits


def test_without_rounding_nothing_is_left_between_them() -> None:
    network = lens(Doubled(efficientnet().spec.build()))
    image, windows, pixels = occluded((96, 128), 16)
    local = local_pass(network, image, windows, pixels, 16)
    assert local is not None
    with torch.no_grad():
        found = local.logits(pixels, windows.boxes(0, len(windows)))
        expected = torch.cat([network.logits(picture[None]) for picture in pixels])
    assert float((found - expected).abs().max()) <= 1e-11 * float(expected.abs().max())


def test_padding_that_depends_on_the_size_is_not_guessed() -> None:
    image, windows, pixels = occluded((161, 160), 24)
    assert local_pass(efficientnet(), image, windows, pixels, 24) is None


class Bypassed(nn.Module):
    """Its first layer is not all that its output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv(x).mean((2, 3)), x.amax((2, 3))], 1)


def test_a_layer_that_is_bypassed_is_not_taken() -> None:
    image, windows, pixels = occluded((64, 64))
    assert local_pass(lens(Bypassed(), size=64), image, windows, pixels, WINDOW) is None


def test_a_network_whose_first_layer_sees_everything_has_none() -> None:
    network = network_of(norm=nn.GroupNorm(1, 3), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    image, windows, pixels = occluded((32, 32))
    assert local_pass(network, image, windows, pixels, WINDOW) is None


def test_a_window_of_most_of_the_picture_saves_nothing() -> None:
    image, windows, pixels = occluded((32, 32), 20)
    assert local_pass(tiny(), image, windows, pixels, 20) is None


def test_no_hook_is_left_on_the_network() -> None:
    image, windows, pixels = occluded((64, 64))
    local = local_pass(tiny(), image, windows, pixels, WINDOW)
    assert local is not None
    with pytest.raises(NotApplicable):
        local.logits(pixels[:, :2], windows.boxes(0, len(windows)))
    assert not any(module._forward_hooks for module in tiny().module.modules())
