from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from convscope_techniques.texture.pooling import AveragePooling
from support.networks import function_modes

X = torch.rand(1, 3, 9, 11)


@pytest.mark.parametrize(
    "options", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}]
)
def test_max_pooling_takes_the_mean_of_what_is_in_the_picture(options: dict[str, int]) -> None:
    expected = functional.avg_pool2d(X, **options, count_include_pad=False)  # type: ignore[arg-type]  # a mixed dict
    with AveragePooling() as mode:
        found = [nn.MaxPool2d(**options)(X), functional.max_pool2d(X, **options), torch.max_pool2d(X, **options)]  # type: ignore[arg-type]  # likewise
    assert all(torch.equal(output, expected) for output in found)
    assert mode.replaced == 3


def test_outside_of_it_everything_is_as_before() -> None:
    with AveragePooling():
        pass
    assert torch.equal(nn.MaxPool2d(2)(X), functional.max_pool2d(X, 2))
    assert function_modes() == []


def test_pooling_that_has_no_average_stays_as_it_is() -> None:
    with AveragePooling() as mode:
        dilated = functional.max_pool2d(X, 2, dilation=2)
        values, indices = functional.max_pool2d(X, 2, return_indices=True)
    assert torch.equal(dilated, functional.max_pool2d(X, 2, dilation=2))
    assert torch.equal(values, functional.max_pool2d(X, 2))
    assert indices.dtype == torch.int64
    assert mode.replaced == 0
