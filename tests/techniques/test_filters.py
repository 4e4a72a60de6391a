from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope_sdk.errors import InvalidParams, NotApplicable, UnknownName
from convscope_sdk.events import ImageGrid, Table
from convscope_techniques.weights.filters import filters
from support.collected import Collected, array
from support.zoo import network_of, random_network, tiny


def _eight_bit(tiles: object) -> np.ndarray:
    """The grey levels that a PNG of the tiles has."""
    return np.round(array(tiles) * 255)


def test_a_tile_unscaled_by_its_range_is_the_weight_within_one_grey_level() -> None:
    weight = random_network("resnet18").module.conv1.weight.detach().numpy()
    seen = Collected(filters.run(random_network("resnet18")))
    tiles = _eight_bit(seen.one(ImageGrid, "filters").tiles)
    rows = seen.one(Table, "filters").rows
    assert len(tiles) == len(rows) == len(weight) == 64
    for tile, row in zip(tiles, rows, strict=True):
        span = row["max"] - row["min"]
        unscaled = row["min"] + tile / 255 * span
        assert np.abs(unscaled - weight[row["out"]]).max() <= span / 255


def test_a_global_tile_unscaled_by_the_limit_is_the_weight_within_one_grey_level() -> None:
    weight = random_network("resnet18").module.conv1.weight.detach().numpy()
    seen = Collected(filters.run(random_network("resnet18"), scale="global"))
    grid = seen.one(ImageGrid, "filters")
    limit = seen.scores["limit"]
    assert grid.value_range == (-limit, limit)
    assert np.abs((2 * _eight_bit(grid.tiles) / 255 - 1) * limit - weight).max() <= 2 * limit / 255


def test_both_scales_come_and_the_chosen_one_is_called_filters() -> None:
    chosen = Collected(filters.run(tiny(), scale="global"))
    other = Collected(filters.run(tiny(), scale="per_filter"))
    assert np.array_equal(chosen.one(ImageGrid, "filters").tiles, other.one(ImageGrid, "filters_global").tiles)
    assert np.array_equal(chosen.one(ImageGrid, "filters_per_filter").tiles, other.one(ImageGrid, "filters").tiles)


def test_filters_that_do_not_see_rgb_are_one_grey_tile_for_each_pair() -> None:
    seen = Collected(filters.run(tiny(), layer="conv2", k=20))
    grid = seen.one(ImageGrid, "filters")
    weight = tiny().module.conv2.weight
    assert tuple(grid.tiles.shape) == (20, 1, 3, 3)
    assert grid.labels[:9] == ("0←0", "0←1", "0←2", "0←3", "0←4", "0←5", "0←6", "0←7", "1←0")
    low, high = weight[2, 3].min(), weight[2, 3].max()
    assert torch.allclose(grid.tiles[19, 0] * (high - low) + low, weight[2, 3], atol=1e-6)
    assert any("180 of 576" in note for note in seen.notes)
    assert torch.equal(seen.tensor("filters"), weight)


def test_a_matrix_is_one_tile_with_a_row_for_each_filter() -> None:
    seen = Collected(filters.run(tiny(), layer="fc", k=5))
    assert tuple(seen.one(ImageGrid, "filters").tiles.shape) == (1, 1, 5, 16)
    assert tuple(seen.tensor("filters").shape) == (7, 16)


def test_dead_filters_are_marked_and_counted() -> None:
    conv = nn.Conv2d(3, 4, 5)
    conv.weight.data[2] = 0.25
    seen = Collected(filters.run(network_of(conv=conv, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())))
    assert seen.scores["dead_filters"] == 1
    assert seen.one(ImageGrid, "filters").labels == ("0", "1", "2 dead", "3")
    assert [row["dead"] for row in seen.one(Table, "filters").rows] == [False, False, True, False]


def test_a_layer_without_weights_is_refused_and_the_refusal_names_layers_that_have() -> None:
    with pytest.raises(NotApplicable, match=r"layer1\.0\.conv1"):
        list(filters.run(random_network("resnet18"), layer="layer1.0"))
    function = next(info.name for info in random_network("resnet18").layers if info.functional)
    with pytest.raises(NotApplicable, match="conv1"):
        list(filters.run(random_network("resnet18"), layer=function))


def test_an_unknown_layer_or_a_bound_out_of_range_is_refused() -> None:
    with pytest.raises(UnknownName, match="layer1"):
        list(filters.run(random_network("resnet18"), layer="layer11"))
    with pytest.raises(InvalidParams, match=r"params\.k"):
        filters.run(tiny(), k=0)
