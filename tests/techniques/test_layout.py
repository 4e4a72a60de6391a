from __future__ import annotations

import torch

from convscope_techniques.layout import for_convolutions


def test_pixels_laid_out_for_convolutions_are_the_same_pixels_with_their_colours_side_by_side() -> None:
    pixels = torch.rand(2, 3, 5, 7)
    laid_out = for_convolutions(pixels)
    assert torch.equal(laid_out, pixels)
    assert laid_out.is_contiguous(memory_format=torch.channels_last)


def test_a_gradient_passes_through_the_layout() -> None:
    pixels = torch.rand(1, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad((for_convolutions(pixels) * torch.arange(4)).sum(), pixels)
    assert torch.equal(gradient, torch.arange(4.0).expand(1, 3, 4, 4))
