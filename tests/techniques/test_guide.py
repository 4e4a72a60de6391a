from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope_techniques.synthesis.guide import Guide, best_matches
from support.zoo import random_network, tiny

GENERATOR = torch.Generator().manual_seed(0)
PICTURE = torch.rand(1, 3, 40, 60, generator=GENERATOR)


def test_the_gradient_at_each_place_is_the_guides_vector_that_fits_best() -> None:
    """The notebook's objective_guide: y[:, (x.T @ y).argmax(1)]."""
    places = torch.randn(1, 6, 20, generator=GENERATOR).requires_grad_()
    wanted = torch.randn(6, 15, generator=GENERATOR)
    (gradient,) = torch.autograd.grad(best_matches(places, wanted).sum(), places)
    x, y = places.detach()[0].numpy(), wanted.numpy()
    assert np.array_equal(gradient[0].numpy(), y[:, (x.T @ y).argmax(1)])


def test_a_guide_is_seen_with_its_longer_edge_at_the_networks_size() -> None:
    guide = Guide.of(tiny(), PICTURE, ["conv1"])
    assert tuple(guide.features["conv1"].shape) == (8, 32 * 32)


@pytest.mark.parametrize("layer", ["stages.1.blocks.0.mlp.fc1", "stages.1.blocks.0"])
def test_channels_are_channels_wherever_the_layer_keeps_them(layer: str) -> None:
    network = random_network("convnext_atto")
    name = network.layer(layer).name
    guide = Guide.of(network, PICTURE, [name])
    assert len(guide.features[name]) == max(network.layer(name).output_shape)
    assert tuple(guide.scores(torch.rand(1, 3, 64, 96, generator=GENERATOR), [name]).shape) == (1, 1)
