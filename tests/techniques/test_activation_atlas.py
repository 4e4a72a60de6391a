from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.errors import NotApplicable, UnknownName
from convscope_sdk.events import Image, Preview, Progress, Table
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_techniques.units.activation_atlas import activation_atlas
from support.collected import Collected
from support.image_sets import folder_of
from support.put_down import goes_on
from support.zoo import tiny

QUICK: dict[str, Any] = {"layer": "conv3", "samples": 60, "cells": 3, "steps": 2, "size": 48, "method": "pca"}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> ImageSets:
    root = tmp_path_factory.mktemp("sets")
    return ImageSets({"mine": folder_of(root / "mine", 12), "one": folder_of(root / "one", 1)})


def _atlas(sets: ImageSets, image_set: str = "mine", **params: Any) -> Collected:
    return Collected(activation_atlas.run(tiny(), image_sets=sets, image_set=image_set, **{**QUICK, **params}))


def test_each_cell_with_enough_activations_has_a_picture_and_the_others_are_white(sets: ImageSets) -> None:
    seen = _atlas(sets)
    sheet, rows = seen.one(Image, "activation_atlas").image, seen.one(Table, "cells").rows
    assert sheet.shape == (3, 144, 144)
    full = {(row["row"], row["column"]) for row in rows}
    for down in range(3):
        for across in range(3):
            cell = sheet[:, down * 48 : down * 48 + 48, across * 48 : across * 48 + 48]
            assert (cell != 255).any() == ((down, across) in full)
    assert all(row["count"] >= 2 for row in rows)
    assert sum(row["count"] for row in rows) <= 60
    assert all(row["label"] in {"blue", "green", "red"} and 0 < row["share"] <= 1 for row in rows)


def test_directions_are_the_means_of_vectors_that_the_layer_gave(sets: ImageSets) -> None:
    seen = _atlas(sets, least=1, cells=6)
    directions = torch.as_tensor(seen.tensor("directions"))
    counts = np.array([row["count"] for row in seen.one(Table, "cells").rows])
    assert counts.sum() == len(seen.tensor("layout")) == 60
    with torch.no_grad():
        maps = tiny().activations(sets.open("mine", tiny()).pixels(range(12)), "conv3")["conv3"]
    vectors = maps.permute(0, 2, 3, 1).reshape(-1, 16)
    alone = directions[torch.from_numpy(counts == 1)]
    assert len(alone) > 0
    assert all(float((vectors - one).abs().amax(1).min()) < 1e-4 for one in alone)


def test_it_appears_cell_by_cell_and_progress_ends_at_its_total(sets: ImageSets) -> None:
    seen = _atlas(sets)
    cells = [preview for preview in seen.all(Preview) if preview.caption.startswith("cell")]
    assert len(cells) == seen.scores["cells"]
    steps = [progress.step for progress in seen.all(Progress)]
    assert steps == sorted(steps)
    assert steps[-1] == seen.all(Progress)[-1].total


def test_activations_are_laid_out_by_tsne_unless_told_otherwise(sets: ImageSets) -> None:
    method = activation_atlas.params.model_fields["method"].default
    seen = _atlas(sets, method=method, cells=2)
    assert method == "tsne"
    assert not np.allclose(seen.tensor("layout"), _atlas(sets, cells=2).tensor("layout"))


def test_whitening_turns_the_directions(sets: ImageSets) -> None:
    pictures = [_atlas(sets, whiten=whiten).one(Image, "activation_atlas").image for whiten in (True, False)]
    assert not np.array_equal(*pictures)


def test_one_picture_has_an_atlas_too(sets: ImageSets) -> None:
    assert _atlas(sets, "one").scores["activations"] > 1


def test_a_layer_without_positions_is_refused_with_one_to_take_and_unknown_names_get_near_ones(
    sets: ImageSets,
) -> None:
    with pytest.raises(NotApplicable, match="take '"):
        _atlas(sets, layer="fc")
    with pytest.raises(UnknownName, match="'conv3'"):
        _atlas(sets, layer="conv33")
    with pytest.raises(UnknownName, match="'class'"):
        _atlas(sets, label="clas")


@pytest.mark.parametrize(("method", "states"), [("pca", 0), ("tsne", 20)])
def test_it_goes_on_wherever_it_was_put_down(sets: ImageSets, method: str, states: int) -> None:
    params = {**QUICK, "image_set": "mine", "method": method}
    cells = len(_atlas(sets, method=method).one(Table, "cells").rows)
    found = goes_on(activation_atlas, tiny(), image_sets=sets, params=params, every=3)
    assert found == 1 + states + cells * QUICK["steps"]
