from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convscope_sdk.errors import InvalidTarget, NotApplicable
from convscope_sdk.sizes import sizes_refused
from support.zoo import lens

SMALL, OWN = torch.zeros(1, 3, 32, 48), torch.zeros(1, 3, 64, 64)


class _Fixed(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        assert pixels.shape[-1] == 64, "Input width doesn't match model (64)."
        return pixels.mean((2, 3))


def test_a_networks_assertion_about_the_size_becomes_a_refusal_that_says_what_to_take() -> None:
    network = lens(_Fixed(), name="fixed", size=64)
    with pytest.raises(
        NotApplicable, match=r"fixed does not take a picture of 48x32: Input width .*; take fit=crop and size=64"
    ):
        network.logits(SMALL)
    assert network.logits(OWN).shape == (1, 3)


@pytest.mark.parametrize(
    ("error", "pixels"),
    [
        (RuntimeError("shapes do not match"), OWN),
        (RuntimeError("the moon is full"), SMALL),
        (InvalidTarget("a size that we refuse ourselves"), SMALL),
        (torch.OutOfMemoryError("tried to allocate that size"), SMALL),
        (KeyError("size"), SMALL),
    ],
)
def test_any_other_error_stays_what_it_is(error: Exception, pixels: Tensor) -> None:
    with pytest.raises(type(error)) as raised, sizes_refused("network", 64, pixels):
        raise error
    assert raised.value is error
