from __future__ import annotations

import pytest
import torch

from convscope_techniques.generators.moments import Moments


@pytest.mark.parametrize("shape", [(40, 5), (40, 5, 6, 3)])
def test_they_are_those_of_all_values_at_once(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 100
    moments = Moments()
    for batch in values.split(7):
        moments.add(batch)
    flat = values.transpose(0, 1).flatten(1).double()
    assert torch.allclose(moments.variances, flat.var(1, correction=0).float(), rtol=1e-4)
    assert torch.allclose(moments.sigma, flat.std(1, correction=0).float(), rtol=1e-4)
    assert moments.variance == pytest.approx(float(flat.var(1, correction=0).mean()), rel=1e-4)


def test_a_unit_that_never_changes_has_no_spread_but_a_layer_of_them_can_still_be_divided_by() -> None:
    moments = Moments()
    moments.add(torch.ones(4, 3))
    assert moments.sigma.tolist() == [0, 0, 0]
    assert moments.variance > 0


def test_nothing_has_no_spread() -> None:
    with pytest.raises(ValueError, match="nothing"):
        _ = Moments().variance
