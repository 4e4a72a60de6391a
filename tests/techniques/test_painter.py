"""Pictures of any size, in one piece and in tiles."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope_sdk.errors import NotApplicable
from convscope_techniques.texture.fixed_norms import FixedNorms
from convscope_techniques.texture.painter import Painter
from convscope_techniques.texture.style_net import StyleNet


def style_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return StyleNet(4, 2).eval().requires_grad_(False)


def smooth(height: int, width: int) -> Tensor:
    torch.manual_seed(1)
    return functional.interpolate(torch.rand(1, 3, 9, 7), (height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (16, 16), (33, 50), (64, 65)])
def test_a_painting_is_as_large_as_its_picture(size: tuple[int, int]) -> None:
    painted = Painter(style_net(), mean=0.5, std=0.25).paint(torch.rand(1, 3, *size))
    assert painted.shape == (1, 3, *size)
    assert 0 <= float(painted.min()) <= float(painted.max()) <= 1


def test_tiles_show_no_seams_and_paint_what_one_piece_does() -> None:
    module, pixels = style_net(), smooth(500, 380)
    whole = Painter(module, mean=0.5, std=0.25, tile=1024).paint(pixels)
    tiled = Painter(module, mean=0.5, std=0.25, tile=256)
    *_, painted = tiled.steps(pixels)
    assert tiled.tiles(pixels) == len(list(tiled.steps(pixels))) == 12
    assert float((painted - whole).abs().mean()) < 0.04  # statistics of a smaller picture are nearly the same
    across = (painted[..., 1:] - painted[..., :-1]).abs().mean((0, 1, 2))
    reference = (whole[..., 1:] - whole[..., :-1]).abs().mean((0, 1, 2))
    assert float((across - reference)[[127, 255]].abs().max()) < 0.01


def test_with_the_wholes_own_statistics_tiles_are_exact() -> None:
    module, pixels = style_net(), smooth(256, 256)
    norms = FixedNorms(module)
    with norms.watching():
        whole = module(pixels)
    with norms.fixed():
        tile = module(pixels[..., 64:, 64:])
    assert torch.allclose(tile[..., 64:, 64:], whole[..., 128:, 128:], atol=1e-4)
    assert not torch.allclose(module(pixels[..., 64:, 64:])[..., 64:, 64:], whole[..., 128:, 128:], atol=1e-2)


def test_norms_are_as_they_were_afterwards() -> None:
    module = style_net()
    before = module(smooth(64, 64))
    norms = FixedNorms(module)
    with norms.watching():
        module(smooth(32, 32))
    with norms.fixed():
        assert not torch.allclose(module(smooth(64, 64)), before)
    assert torch.equal(module(smooth(64, 64)), before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


@pytest.mark.parametrize("module", [nn.AvgPool2d(2), nn.Flatten(), nn.Conv2d(3, 1, 1)])
def test_a_network_that_makes_no_such_picture_is_refused(module: nn.Module) -> None:
    with pytest.raises(NotApplicable, match="no picture as large"):
        Painter(module.requires_grad_(False)).paint(torch.rand(1, 3, 32, 32))
