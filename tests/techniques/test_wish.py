from __future__ import annotations

import pytest
import torch

from convscope_sdk.errors import InvalidParams
from convscope_techniques.synthesis.wish import Direction, along, dissimilarity, scores_of
from support.zoo import tiny

PIXELS = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0))
FEATURES = torch.randn(3, 5, 4, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("spelled", [["class:3"], ["conv2:1", "conv3"], ["4-2", "conv2:1@3,4", "class:0"]])
def test_several_targets_in_one_pass_are_worth_what_each_is_alone(spelled: list[str]) -> None:
    network = tiny()
    targets = [network.resolve(target, PIXELS) for target in spelled]
    together = scores_of(network, PIXELS, targets)
    alone = torch.stack([network.score(PIXELS, target) for target in targets])
    assert torch.allclose(together, alone, atol=1e-6)


def test_along_one_axis_a_direction_is_that_channels_mean() -> None:
    axis = Direction("layer", torch.eye(5)[2])
    assert torch.allclose(along(FEATURES, axis), FEATURES[:, 2].mean((1, 2)), atol=1e-6)


def test_with_a_power_the_angle_counts_and_is_at_least_a_tenth() -> None:
    vector = torch.tensor([1.0, 2, 0, 0, -1])
    dots = torch.einsum("bchw,c->bhw", FEATURES, vector)
    cosines = (dots / FEATURES.norm(dim=1) / vector.norm()).clamp(min=0.1)
    assert torch.allclose(along(FEATURES, Direction("layer", vector, 2.0)), (dots * cosines**2).mean((1, 2)), atol=1e-4)


def test_a_direction_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidParams, match="5 channels"):
        along(FEATURES, Direction("layer", torch.ones(4)))


def test_pictures_that_are_the_same_are_least_unlike() -> None:
    same = FEATURES[:1].expand(3, -1, -1, -1)
    assert float(dissimilarity(same)) == pytest.approx(-2.0, rel=1e-5)
    assert float(dissimilarity(FEATURES)) > -1.9


def test_vectors_are_as_unlike_as_the_squared_cosine_of_their_angle_says() -> None:
    vectors = torch.tensor([[1.0, 0], [1, 1]])
    assert float(dissimilarity(vectors)) == pytest.approx(-0.5, rel=1e-5)
