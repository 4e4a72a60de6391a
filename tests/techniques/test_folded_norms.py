from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convscope_techniques.synthesis.folded_norms import FoldedNorms
from support.networks import function_modes

X = torch.randn(2, 5, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def norm(*, affine: bool) -> nn.BatchNorm2d:
    """With means, variances and weights that are not those of a new one."""
    layer = nn.BatchNorm2d(5, affine=affine).double()
    generator = torch.Generator().manual_seed(1)
    for tensor in layer.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2, generator=generator)
    return layer.requires_grad_(False).eval()


def values_and_gradient(layer: nn.Module) -> tuple[Tensor, Tensor]:
    leaf = X.clone().requires_grad_()
    output = layer(leaf)
    (gradient,) = torch.autograd.grad(output.square().sum(), leaf)
    return output.detach(), gradient


@pytest.mark.parametrize("affine", [True, False])
def test_values_and_gradients_are_those_of_the_batch_norm(affine: bool) -> None:
    expected = values_and_gradient(norm(affine=affine))
    with FoldedNorms():
        found = values_and_gradient(norm(affine=affine))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12)
    assert function_modes() == []


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(5).double(), nn.BatchNorm2d(5, track_running_stats=False).double()])
def test_a_norm_that_measures_its_batch_goes_on_doing_so(layer: nn.BatchNorm2d) -> None:
    with FoldedNorms():
        output = layer.requires_grad_(False)(X)
    assert torch.allclose(output.mean((0, 2, 3)), torch.zeros(5, dtype=torch.float64), atol=1e-12)
