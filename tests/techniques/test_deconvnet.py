from __future__ import annotations

import numpy as np
import torch
from torch import nn

from convscope_techniques.attribution.deconvnet import deconvnet
from support.collected import Collected
from support.zoo import network_of, tiny

NOISE = np.random.default_rng(0)
PICTURE, OTHER = (NOISE.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(2))


def _pooled(kernel: int, stride: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(kernel, stride), nn.Conv2d(6, 6, 3), nn.ReLU())


def test_true_unpooling_differs_where_pools_overlap_and_only_there() -> None:
    for kernel, overlapping in ((2, 0), (3, 1)):
        features = _pooled(kernel, 2)
        network = network_of(features=features, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(6, 4))
        switches, zeiler = (
            Collected(deconvnet.run(network, PICTURE, target=1, unpooling=way)) for way in ("switches", "zeiler")
        )
        assert torch.equal(switches.tensor("gradient"), zeiler.tensor("gradient")) == (not overlapping)
        assert any(f"1 max poolings unpooled, {overlapping} of them" in note for note in zeiler.notes)


def test_without_max_pooling_it_is_the_same_for_any_picture_and_that_is_said() -> None:
    first, second = (Collected(deconvnet.run(tiny(), picture, target=2)) for picture in (PICTURE, OTHER))
    assert torch.equal(first.tensor("gradient"), second.tensor("gradient"))
    assert any("no max pooling on the way to class:2" in note for note in first.notes)


def test_with_max_pooling_it_depends_on_the_picture() -> None:
    network = network_of(features=_pooled(2, 2), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(6, 4))
    first, second = (Collected(deconvnet.run(network, picture, target=2)) for picture in (PICTURE, OTHER))
    assert not torch.equal(first.tensor("gradient"), second.tensor("gradient"))
    assert not any("no max pooling" in note for note in first.notes)
