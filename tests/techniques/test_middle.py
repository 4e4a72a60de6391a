from __future__ import annotations

import pytest
from torch import nn

from convscope_sdk.errors import NotApplicable
from convscope_techniques.synthesis.middle import middle_layer
from support.zoo import efficientnet, network_of, random_network


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("googlenet", "inception4c"),  # the notebook's own
        ("resnet18", "layer3.0"),
        ("vgg11", "features.14"),
        ("squeezenet1_1", "features.9"),
        ("convnext_atto", "stages.2"),
    ],
)
def test_the_default_is_a_block_at_sixty_percent(name: str, layer: str) -> None:
    assert middle_layer(random_network(name)) == layer


def test_the_default_of_efficientnet_is_one_of_its_inner_blocks() -> None:
    assert middle_layer(efficientnet()) == "blocks.4.1"


def test_a_network_without_positions_has_no_middle() -> None:
    network = network_of(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(3, 2))
    with pytest.raises(NotApplicable, match="name a layer"):
        middle_layer(network)
