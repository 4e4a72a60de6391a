from __future__ import annotations

import pytest
import torch

from convscope_techniques.texture.style_net import StyleNet


@pytest.mark.parametrize(("size", "painted"), [((32, 48), (32, 48)), ((33, 50), (36, 52)), ((17, 16), (20, 16))])
def test_the_painting_is_as_large_as_the_picture_rounded_up_to_four(
    size: tuple[int, int], painted: tuple[int, int]
) -> None:
    with torch.no_grad():
        assert StyleNet(4, 1)(torch.rand(1, 3, *size)).shape[-2:] == painted


def test_width_and_blocks_decide_how_many_parameters_there_are() -> None:
    def count(width: int, blocks: int) -> int:
        return sum(parameter.numel() for parameter in StyleNet(width, blocks).parameters())

    assert count(8, 3) - count(8, 2) == 2 * (32 * 32 * 9 + 32 + 2 * 32)
    assert count(32, 5) == 1_679_235  # as PyTorch's example has


@pytest.mark.parametrize(("width", "blocks"), [(0, 1), (129, 1), (8, -1), (8, 17)])
def test_what_would_be_no_network_or_a_huge_one_is_refused(width: int, blocks: int) -> None:
    with pytest.raises(ValueError, match="width is 1 to 128"):
        StyleNet(width, blocks)


def test_brightness_and_contrast_of_the_picture_do_not_matter_beyond_the_edges() -> None:
    """Instance norm: the style decides."""
    torch.manual_seed(0)
    module, pixels = StyleNet(4, 1), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(module(pixels), module(3 * pixels + 1), atol=1e-3)


def test_upsampling_is_nearest_or_bilinear_with_the_same_weights() -> None:
    torch.manual_seed(0)
    nearest, bilinear = StyleNet(4, 1), StyleNet(4, 1, "bilinear")
    bilinear.load_state_dict(nearest.state_dict())
    pixels = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert nearest(pixels).shape == bilinear(pixels).shape
        assert not torch.allclose(nearest(pixels), bilinear(pixels), atol=1e-2)
    with pytest.raises(ValueError, match="one of nearest, bilinear"):
        StyleNet(4, 1, "bicubic")
