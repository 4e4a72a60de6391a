from __future__ import annotations

import numpy as np
import torch
from torch import nn

from convscope_techniques.attribution.hires_cam import hires_cam, hires_maps
from support.collected import Collected
from support.zoo import network_of

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_gradient_and_map_are_multiplied_at_each_position() -> None:
    maps = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    gradient = torch.tensor([[[[1.0, -1.0]], [[-2.0, 0.5]]]])
    assert hires_maps(maps, gradient)[0, 0].tolist() == [[-5.0, 0.0]]


def test_before_linear_layers_it_adds_up_to_the_score_without_its_bias() -> None:
    torch.manual_seed(0)
    network = network_of(conv=nn.Conv2d(3, 4, 8, stride=8), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(4 * 16, 5))
    with torch.no_grad():
        network.module.fc.weight.abs_()  # so that the ReLU cuts nothing
    seen = Collected(hires_cam.run(network, PICTURE, target=2, layer="relu"))
    expected = seen.scores["target_score"] - float(network.module.fc.bias[2])
    assert abs(float(seen.tensor("cam").sum()) - expected) <= 1e-4 * abs(expected)
