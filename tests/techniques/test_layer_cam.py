from __future__ import annotations

import torch

from convscope_techniques.attribution.layer_cam import layer_maps


def test_each_position_is_weighted_by_the_positive_gradient_there() -> None:
    maps = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    gradient = torch.tensor([[[[1.0, -1.0]], [[-2.0, 0.5]]]])
    assert layer_maps(maps, gradient)[0, 0].tolist() == [[1.0, 2.0]]
