from __future__ import annotations

import copy
from typing import cast

import captum.attr
import numpy as np
import pytest
import torch

from convscope_sdk.torchvision_ops import ensure_torchvision
from convscope_techniques.activations.activations import activations
from support.collected import Collected
from support.zoo import random_network

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255


def _torchvisions(name: str, *layers: str) -> dict[str, torch.Tensor]:
    ensure_torchvision()
    from torchvision.models.feature_extraction import create_feature_extractor

    network = random_network(name)
    # A copy: an extractor that fails leaves its model in training mode.
    extractor = create_feature_extractor(copy.deepcopy(network.module), list(layers))
    with torch.no_grad():
        return cast("dict[str, torch.Tensor]", extractor(network.normalize(PIXELS)))


CASES = [
    ("resnet18", "conv1"),
    ("resnet18", "layer2.0"),
    ("resnet18", "layer3.1.bn2"),
    ("vgg11", "features.3"),  # an in-place ReLU comes next
    ("vgg11", "classifier.4"),
    ("googlenet", "inception4c.branch2"),
    ("squeezenet1_1", "features.4"),
]


def _ours(name: str, layer: str) -> torch.Tensor:
    run = activations.run(random_network(name), PICTURE, layer=layer, fit="keep", size=96)
    return Collected(run).tensor("activations")


@pytest.mark.parametrize(("name", "layer"), CASES)
def test_they_equal_torchvisions_feature_extractor_to_the_bit(name: str, layer: str) -> None:
    assert torch.equal(_ours(name, layer), _torchvisions(name, layer)[layer][0])


def test_what_a_later_in_place_operation_writes_over_is_kept_as_the_layer_gave_it() -> None:
    layer = "features.4.expand3x3"
    ours = _ours("squeezenet1_1", layer)
    theirs = _torchvisions("squeezenet1_1", layer, "features.4")[layer][0]
    assert ours.min() < 0
    assert torch.equal(ours.relu(), theirs)


@pytest.mark.parametrize(("name", "layer"), CASES)
def test_they_equal_captums_layer_activation_to_the_bit(name: str, layer: str) -> None:
    network = random_network(name)
    referee = captum.attr.LayerActivation(network.logits, network.module.get_submodule(layer))
    assert torch.equal(_ours(name, layer), referee.attribute(PIXELS).detach()[0])
