from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope_sdk.errors import NotApplicable
from convscope_techniques.attribution.grad_cam import grad_cam
from convscope_techniques.attribution.guided_backprop import guided_backprop
from convscope_techniques.attribution.guided_grad_cam import guided_grad_cam
from support.collected import Collected
from support.zoo import random_network, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("layers", [(), ("conv2", "relu3")])
def test_it_is_the_product_of_the_two_techniques(layers: tuple[str, ...]) -> None:
    guided = Collected(guided_backprop.run(tiny(), PICTURE, target=2)).tensor("gradient")
    where = Collected(grad_cam.run(tiny(), PICTURE, target=2, layers=layers)).tensor("grad_cam")
    seen = Collected(guided_grad_cam.run(tiny(), PICTURE, target=2, layers=layers))
    assert torch.equal(seen.tensor("gradient"), guided * where)
    assert torch.equal(seen.tensor("guided_backprop"), guided)
    assert torch.equal(seen.tensor("grad_cam"), where)


def test_what_either_part_refuses_it_refuses() -> None:
    with pytest.raises(NotApplicable, match="has no ReLU"):
        list(guided_grad_cam.run(random_network("convnext_atto"), PICTURE, size=64))
    with pytest.raises(NotApplicable, match="no maps of more than one position"):
        list(guided_grad_cam.run(tiny(), PICTURE, layer="fc"))
