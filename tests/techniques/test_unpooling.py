from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from convscope_techniques.attribution.unpooling import ZeilerUnpooling
from support.networks import function_modes


def _through(pool: Any, x: torch.Tensor, arriving: torch.Tensor | None = None) -> tuple[ZeilerUnpooling, Any, Any]:
    leaf = x.clone().requires_grad_()
    with ZeilerUnpooling() as unpooling:
        y = pool(leaf)
    arriving = torch.ones_like(y) if arriving is None else arriving
    return unpooling, y.detach(), torch.autograd.grad(y, leaf, arriving)[0]


@given(
    st.integers(0, 99),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(0, 1),
    st.integers(1, 2),
    st.booleans(),
)
def test_it_equals_max_unpool_of_the_pools_own_switches(
    seed: int, sizes: tuple[int, int], padding: int, dilation: int, ceil_mode: bool
) -> None:
    kernel, stride = sizes
    padding = min(padding, kernel // 2)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, 11, 9, generator=generator)
    settings = {"padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    y, switches = functional.max_pool2d(x, kernel, stride, return_indices=True, **settings)  # type: ignore[call-overload]
    arriving = torch.randn(y.shape, generator=generator)
    _, value, gradient = _through(lambda t: functional.max_pool2d(t, kernel, stride, **settings), x, arriving)
    # The operator itself: its function refuses sizes that dilation makes.
    expected = torch.ops.aten.max_unpool2d(arriving, switches, x.shape[-2:])
    assert torch.equal(value, y)
    assert torch.equal(gradient, expected)


def test_a_maximum_that_two_pools_share_keeps_the_last_ones_signal() -> None:
    x = torch.tensor([[[[0.0, 0.0, 9.0, 0.0, 0.0]]]])
    unpooling, _, gradient = _through(
        lambda t: functional.max_pool2d(t, (1, 3), (1, 2)), x, torch.tensor([[[[2.0, 5.0]]]])
    )
    assert gradient.flatten().tolist() == [0, 0, 5, 0, 0]
    assert (unpooling.pools, unpooling.overlapping) == (1, 1)


def test_without_overlap_it_is_the_gradient() -> None:
    x = torch.randn(1, 2, 8, 8)
    leaf = x.clone().requires_grad_()
    (plain,) = torch.autograd.grad(functional.max_pool2d(leaf, 2).sum(), leaf)
    unpooling, _, gradient = _through(nn.MaxPool2d(2), x)
    assert torch.equal(gradient, plain)
    assert (unpooling.pools, unpooling.overlapping) == (1, 0)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2),
        lambda x: functional.max_pool2d(x, 3, stride=2),
        lambda x: functional.max_pool2d(input=x, kernel_size=3, stride=2),
        lambda x: torch.max_pool2d(x, 3, 2),
        lambda x: torch.max_pool2d(x, [3, 3], stride=[2, 2]),
    ],
)
def test_every_spelling_of_max_pooling_is_met(pool: Any) -> None:
    unpooling, _, _ = _through(pool, torch.randn(1, 1, 9, 9))
    assert (unpooling.pools, unpooling.overlapping) == (1, 1)


def test_pooling_that_the_network_unpools_itself_is_left_alone() -> None:
    with ZeilerUnpooling() as unpooling:
        y, switches = functional.max_pool2d(torch.randn(1, 1, 4, 4), 2, return_indices=True)
    assert unpooling.pools == 0
    assert y.shape == switches.shape


def test_it_leaves_no_mode_behind() -> None:
    before = function_modes()
    with pytest.raises(RuntimeError), ZeilerUnpooling():
        functional.max_pool2d(torch.zeros(1, 1, 1, 1), 5)
    assert function_modes() == before
