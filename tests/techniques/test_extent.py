from __future__ import annotations

import torch

from convscope_techniques.attribution.extent import extent


def test_it_is_the_range_and_the_part_that_has_half_the_largest_magnitude() -> None:
    values = torch.tensor([[0.0, 1.0], [-4.0, 2.0]])
    assert extent(values).values == {"map_min": -4.0, "map_max": 2.0, "map_positive": 0.5, "map_half_area": 0.5}


def test_an_empty_map_covers_nothing() -> None:
    assert extent(torch.zeros(2, 2)).values["map_half_area"] == 0
