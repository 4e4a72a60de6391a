from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import ImageGrid, Table
from convscope_techniques.activations.activations import activations
from support.collected import Collected
from support.zoo import lens, network_of, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def test_tile_i_is_channel_i_on_the_scale_of_the_layer() -> None:
    seen = Collected(activations.run(tiny(), PICTURE, layer="conv3"))
    raw, grid = seen.tensor("activations"), seen.one(ImageGrid, "activations")
    assert grid.value_range is not None
    low, high = grid.value_range
    assert (low, high) == (raw.min(), raw.max())
    assert torch.allclose(grid.tiles[:, 0] * (high - low) + low, raw, atol=1e-6)


def test_each_channel_can_have_its_own_scale() -> None:
    grid = Collected(activations.run(tiny(), PICTURE, layer="conv3", scale="per_channel")).one(ImageGrid, "activations")
    assert torch.equal(grid.tiles.amin((1, 2, 3)), torch.zeros(16))
    assert torch.equal(grid.tiles.amax((1, 2, 3)), torch.ones(16))
    assert grid.value_range is None


@pytest.mark.parametrize("sort", ["mean", "max"])
def test_sorted_channels_are_the_top_k_in_falling_order(sort: str) -> None:
    seen = Collected(activations.run(tiny(), PICTURE, layer="conv3", sort=sort, k=5))
    by_channel = {row["channel"]: row[sort] for row in seen.one(Table, "activations").rows}
    drawn = [by_channel[int(label.split()[0])] for label in seen.one(ImageGrid, "activations").labels]
    assert drawn == sorted(by_channel.values(), reverse=True)[:5]
    assert any("5 of 16" in note for note in seen.notes)
    assert len(seen.tensor("activations")) == 16


def test_features_without_positions_are_one_cell_each() -> None:
    seen = Collected(activations.run(tiny(), PICTURE, layer="logits"))
    assert tuple(seen.one(ImageGrid, "activations").tiles.shape) == (7, 1, 1, 1)
    assert tuple(seen.tensor("activations").shape) == (7,)


def test_dead_channels_are_marked_and_counted() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    conv.weight.data[1], conv.bias.data[1] = 0, -1
    network = network_of(conv=conv, relu=nn.ReLU(), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    seen = Collected(activations.run(network, PICTURE, layer="relu"))
    assert seen.scores["dead_channels"] == 1
    assert seen.one(ImageGrid, "activations").labels[1] == "1 dead"


def test_tokens_are_refused_and_layers_with_positions_named() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, stride=4)
            self.mix = nn.Linear(8, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.mix(self.patches(x).flatten(2).mT).mean(1))

    with pytest.raises(NotApplicable, match="patches"):
        list(activations.run(lens(Tokens(), size=32), PICTURE, layer="mix"))
