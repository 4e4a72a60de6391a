from __future__ import annotations

import pytest
import torch

from convscope_techniques.generators.inversion_network import InversionNetwork


def test_a_picture_doubles_with_each_width_after_the_first() -> None:
    network = InversionNetwork((5, 4, 4), (8, 6, 4))
    pixels = network(torch.rand(2, 5, 4, 4))
    assert pixels.shape == (2, 3, 16, 16)
    assert 0 < pixels.min() < pixels.max() < 1
    assert network(torch.rand(1, 5, 7, 3)).shape == (1, 3, 28, 12)


def test_a_vector_is_laid_out_on_a_grid_first() -> None:
    assert InversionNetwork((20,), (8, 6, 4))(torch.rand(2, 20)).shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("shape", "size", "doublings"),
    [((5, 14, 14), 224, 4), ((5, 7, 7), 224, 5), ((5, 6, 6), 90, 4), ((9,), 32, 3), ((5, 40, 40), 32, 0)],
)
def test_it_doubles_until_the_picture_is_large_enough(shape: tuple[int, ...], size: int, doublings: int) -> None:
    assert InversionNetwork.doublings(shape, size) == doublings


def test_codes_are_seen_in_units_of_their_deviations_and_dead_units_are_no_division_by_zero() -> None:
    network = InversionNetwork((5, 4, 4), (8, 6))
    code = torch.rand(1, 5, 4, 4)
    plain = network(code)
    network.sigma.fill_(2.0)
    assert torch.allclose(network(2 * code), plain, atol=1e-6)
    network.sigma.zero_()
    assert bool(network(code).isfinite().all())


def test_a_code_without_channels_or_a_network_without_widths_is_no_such_network() -> None:
    for shape, widths in (((), (8,)), ((5, 4), (8,)), ((5, 4, 4), ()), ((0,), (8,)), ((5, 4, 4), (0,))):
        with pytest.raises(ValueError, match=r"code|widths"):
            InversionNetwork(shape, widths)
