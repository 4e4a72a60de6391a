from __future__ import annotations

import torch

from convscope_techniques.attribution.capped import capped


def test_a_few_outliers_are_cut_and_the_rest_keep_their_value() -> None:
    values = torch.linspace(-1, 1, 1000).view(20, 50)
    values[0, 0], values[5, 5] = 100.0, -100.0
    cut = capped(values, 0.99)
    assert 0.9 < float(cut.abs().max()) <= 1
    inside = values.abs() <= cut.abs().max()
    assert torch.equal(cut[inside], values[inside])
    assert torch.equal(capped(values, 1), values)


def test_a_map_that_is_nearly_all_zero_is_left_as_it_is() -> None:
    values = torch.zeros(20, 20)
    values[3, 3] = 5.0
    assert torch.equal(capped(values, 0.99), values)
