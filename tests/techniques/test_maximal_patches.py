from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope_sdk.errors import InvalidParams, UnknownName
from convscope_sdk.events import ImageGrid, Table
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.network import Network
from convscope_techniques.units.maximal_patches import maximal_patches
from support.collected import Collected
from support.image_sets import folder_of
from support.put_down import goes_on
from support.zoo import lens, tiny


class Branches(nn.Module):
    """Two ways of different reach that are added, as in a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = nn.Conv2d(3, 6, 3, padding=1, stride=2)
        self.wide = nn.Conv2d(6, 6, 5, padding=2)
        self.narrow = nn.Conv2d(6, 6, 1)
        self.join = nn.ReLU()
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.begin(x))
        return self.head(self.join(self.wide(x) + self.narrow(x)).mean((2, 3)))


def _branches() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return lens(Branches(), name="branches", size=32)


BRANCHES = _branches()
UNITS = [(tiny(), "conv1:3"), (tiny(), "relu2:5"), (tiny(), "conv3:11"), (BRANCHES, "join:2"), (tiny(), "conv3:4@0,7")]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> ImageSets:
    root = tmp_path_factory.mktemp("sets")
    return ImageSets({"mine": folder_of(root / "mine", 21), "one": folder_of(root / "one", 1)})


def _patches(sets: ImageSets, network: Network | None = None, image_set: str = "mine", **params: Any) -> Collected:
    return Collected(maximal_patches.run(network or tiny(), image_sets=sets, image_set=image_set, **params))


@pytest.mark.parametrize(("network", "unit"), UNITS, ids=[unit for _, unit in UNITS])
def test_values_are_sorted_and_reproduce_at_their_positions_one_for_each_picture(
    sets: ImageSets, network: Network, unit: str
) -> None:
    rows = _patches(sets, network, target=unit, k=6).one(Table, "patches").rows
    assert [row["value"] for row in rows] == sorted((row["value"] for row in rows), reverse=True)
    assert len({row["name"] for row in rows}) == 6
    image_set = sets.open("mine", network)
    layer, channel = unit.split("@", maxsplit=1)[0].split(":")
    for row in rows:
        pixels = image_set.pixels([list(image_set.names).index(row["name"])])
        with torch.no_grad():
            maps = network.activations(pixels, layer)[layer][0, int(channel)]
        assert float(maps[row["row"], row["column"]]) == pytest.approx(row["value"], abs=1e-5)
        assert "@" in unit or float(maps.max()) == pytest.approx(row["value"], abs=1e-5)


@pytest.mark.parametrize(("network", "unit"), UNITS, ids=[unit for _, unit in UNITS])
def test_the_gradient_of_the_unit_is_exactly_zero_outside_its_box(sets: ImageSets, network: Network, unit: str) -> None:
    image_set = sets.open("mine", network)
    layer_channel = unit.split("@", maxsplit=1)[0]
    for row in _patches(sets, network, target=unit, k=4).one(Table, "patches").rows:
        pixels = image_set.pixels([list(image_set.names).index(row["name"])]).requires_grad_()
        score = network.score(pixels, f"{layer_channel}@{row['row']},{row['column']}")
        gradient = torch.autograd.grad(score.sum(), pixels)[0][0].abs().amax(0)
        inside = torch.zeros_like(gradient, dtype=torch.bool)
        inside[max(row["top"], 0) : row["bottom"], max(row["left"], 0) : row["right"]] = True
        assert not gradient[~inside].any()
        assert gradient[inside].any()


def test_patches_are_what_the_box_holds_padded_at_the_border(sets: ImageSets) -> None:
    seen = _patches(sets, target="conv3:4@0,0", k=2)
    image_set = sets.open("mine", tiny())
    for patch, row in zip(seen.one(ImageGrid, "patches").tiles, seen.one(Table, "patches").rows, strict=True):
        pixels = image_set.pixels([list(image_set.names).index(row["name"])])[0].numpy()
        assert row["top"] < 0
        assert patch.shape == (3, row["bottom"] - row["top"], row["right"] - row["left"])
        inside = patch[:, -row["top"] :, -row["left"] :]
        np.testing.assert_array_equal(inside, pixels[:, : row["bottom"], : row["right"]])
        assert (patch[:, : -row["top"]] == 0.5).all()


@pytest.mark.parametrize("rule", ["guided_backprop", "deconvnet"])
def test_what_drives_the_unit_is_cut_as_the_patches_are(sets: ImageSets, rule: str) -> None:
    seen = _patches(sets, target="relu2:5", k=3, backprop=rule)
    patches, driven = seen.one(ImageGrid, "patches").tiles, seen.one(ImageGrid, rule).tiles
    assert [tile.shape for tile in driven] == [tile.shape for tile in patches]
    assert any((tile != 0.5).any() for tile in driven)


def test_a_layer_gets_a_sheet_with_a_block_for_each_channel(sets: ImageSets) -> None:
    seen = _patches(sets, target="conv3", k=4, channels=5)
    sheet = seen.one(ImageGrid, "sheet")
    assert len(sheet.tiles) == len(sheet.labels) == 5
    assert len({tile.shape for tile in sheet.tiles}) == 1
    rows = seen.one(Table, "sheet").rows
    alone = _patches(sets, target="conv3:2", k=4).one(Table, "patches").rows
    assert rows[2]["names"] == [row["name"] for row in alone]
    assert rows[2]["greatest"] == pytest.approx(alone[0]["value"])
    assert any("5 of 16 channels" in note for note in seen.notes)


def test_a_class_is_a_unit_that_sees_the_whole_picture(sets: ImageSets) -> None:
    seen = _patches(sets, target="class:3", k=5)
    rows = seen.one(Table, "patches").rows
    assert all((row["top"], row["left"], row["bottom"], row["right"]) == (0, 0, 32, 32) for row in rows)
    image_set = sets.open("mine", tiny())
    with torch.no_grad():
        logits = tiny().logits(image_set.pixels(range(21)))[:, 3]
    assert [row["name"] for row in rows] == [image_set.names[i] for i in logits.argsort(descending=True)[:5]]


def test_labels_are_told_and_unknown_names_get_near_ones(sets: ImageSets) -> None:
    rows = _patches(sets, target="conv3:2", label="class").one(Table, "patches").rows
    assert all(row["name"].startswith(row["label"]) for row in rows)
    with pytest.raises(UnknownName, match="'class'"):
        _patches(sets, target="conv3:2", label="clas")
    with pytest.raises(UnknownName, match="'conv3'"):
        _patches(sets, target="conv33:2")


def test_more_patches_than_pictures_are_refused_and_one_picture_has_one(sets: ImageSets) -> None:
    with pytest.raises(InvalidParams, match="take k=21"):
        _patches(sets, target="conv3:2", k=22)
    assert len(_patches(sets, image_set="one", target="conv3:2").one(Table, "patches").rows) == 1


@pytest.mark.parametrize("target", ["top1", "3-2"])
def test_what_is_no_unit_is_refused(sets: ImageSets, target: str) -> None:
    with pytest.raises(InvalidParams, match="no unit"):
        _patches(sets, target=target)


@pytest.mark.parametrize(("target", "states"), [("conv3:4", 1), ("conv3", 1), ("conv3:4@2,5", 3)])
def test_it_goes_on_wherever_it_was_put_down(sets: ImageSets, target: str, states: int) -> None:
    params = {"image_set": "mine", "target": target}
    assert goes_on(maximal_patches, tiny(), image_sets=sets, params=params) == states
