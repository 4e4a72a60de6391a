from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Heatmap, Image
from convscope_techniques.attribution.guided_backprop import guided_backprop
from convscope_techniques.attribution.saliency import saliency
from support.collected import Collected
from support.zoo import random_network, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_it_comes_as_a_picture_a_map_and_numbers() -> None:
    seen = Collected(guided_backprop.run(tiny(), PICTURE))
    drawn = torch.as_tensor(seen.one(Image, "guided_backprop").image)
    assert tuple(drawn.shape) == (3, 32, 32)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert torch.equal(seen.one(Heatmap, "strength").values, seen.tensor("gradient").abs().amax(0))
    assert "3 of 3 ReLU calls intercepted" in seen.notes
    assert seen.scores["relu_calls_intercepted"] == seen.scores["relu_calls"] == 3


def test_it_is_not_the_plain_gradient() -> None:
    plain = Collected(saliency.run(tiny(), PICTURE)).tensor("gradient")
    assert not torch.allclose(Collected(guided_backprop.run(tiny(), PICTURE)).tensor("gradient"), plain, rtol=0.1)


def test_a_neurons_picture_stays_within_its_receptive_field() -> None:
    seen = Collected(guided_backprop.run(tiny(), PICTURE, target="conv2:3@4,4"))
    rows, columns = seen.tensor("gradient").abs().amax(0).nonzero().unbind(1)
    field = tiny().layer("conv2").receptive_field
    assert field is not None
    assert rows.max() - rows.min() < field.size[0]
    assert columns.max() - columns.min() < field.size[1]


def test_a_network_of_gelus_is_refused() -> None:
    with pytest.raises(NotApplicable, match="gelu"):
        list(guided_backprop.run(random_network("convnext_atto"), PICTURE, size=64))
