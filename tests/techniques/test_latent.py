from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope_sdk.errors import NotApplicable
from convscope_techniques.synthesis.latent import Latent
from support.painters import Flat, generator, identity, inverter
from support.zoo import tiny


def test_a_generator_of_maps_is_given_as_many_positions_as_the_picture_takes() -> None:
    latent = Latent.of(inverter(), 49)
    assert latent.code_shape == (16, 25, 25)
    assert latent.sigma.shape == (16, 25, 25)
    assert torch.allclose(latent.sigma[:, 3, 4], inverter().code_sigma[:, 0, 0])
    assert latent.pixels(torch.rand(2, 16, 25, 25)).shape == (2, 3, 49, 49)


def test_the_picture_is_the_middle_of_what_the_generator_makes() -> None:
    latent = Latent(identity(12), 8, (3, 12, 12))
    code = torch.rand(1, 3, 12, 12)
    assert torch.equal(latent.pixels(code), code[..., 2:10, 2:10])


def test_what_is_smaller_than_the_picture_is_enlarged() -> None:
    latent = Latent.of(generator(Flat(), (12,)), 20)
    assert latent.code_shape == (12,)
    assert latent.pixels(torch.zeros(1, 12)).shape == (1, 3, 20, 20)


def test_a_generator_behind_a_layer_of_fixed_size_keeps_its_own_code() -> None:
    fixed = nn.Sequential(nn.Flatten(), Flat(2 * 4 * 4, 8))
    assert Latent.of(generator(fixed, (2, 4, 4)), 20).code_shape == (2, 4, 4)


def test_what_is_no_generator_is_refused() -> None:
    with pytest.raises(NotApplicable, match="kind generator"):
        Latent.of(tiny(), 32)
