"""What every technique that looks at a whole image set makes of sets and settings that cannot be, or hardly."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from convscope_sdk.errors import DiskFull, InvalidImageSet, UnknownName
from convscope_sdk.events import Image, ImageGrid, Table
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.store import IndexStore
from convscope_sdk.technique import Technique
from convscope_techniques.embedding.embedding import embedding
from convscope_techniques.embedding.nearest_neighbors import nearest_neighbors
from convscope_techniques.units.activation_atlas import activation_atlas
from convscope_techniques.units.dissect import dissect
from convscope_techniques.units.maximal_patches import maximal_patches
from support.collected import Collected
from support.image_sets import folder_of, noise
from support.zoo import tiny

QUICK: list[tuple[Technique[Any], dict[str, Any]]] = [
    (nearest_neighbors, {"layer": "conv3"}),
    (embedding, {"layer": "conv3", "size": 64, "method": "pca"}),
    (maximal_patches, {"target": "conv3:1"}),
    (dissect, {"target": "conv3:1", "steps": 1, "size": 32}),
    (activation_atlas, {"layer": "conv3", "samples": 30, "cells": 2, "steps": 1, "size": 32, "method": "pca"}),
]
EACH = pytest.mark.parametrize(("technique", "params"), QUICK, ids=[technique.id for technique, _ in QUICK])
SIZES = ((8, 8), (400, 11), (5, 90), (64, 64), (1, 1))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> ImageSets:
    root = tmp_path_factory.mktemp("sets")
    (root / "empty").mkdir()
    for name in ("same", "odd"):
        (root / name / "class").mkdir(parents=True)
    for number, size in enumerate(SIZES):
        PILImage.new("RGB", (40, 40), (90, 60, 30)).save(root / "same" / "class" / f"{number}.png")
        picture = noise(number, size=size)
        picture.convert(("RGB", "L", "RGBA", "P", "1")[number]).save(root / "odd" / "class" / f"{number}.png")
    return ImageSets({"mine": folder_of(root / "mine", 9)} | {name: root / name for name in ("empty", "same", "odd")})


def _run(technique: Technique[Any], sets: ImageSets, image_set: str, **params: Any) -> Collected:
    return Collected(technique.run(tiny(), image_sets=sets, image_set=image_set, **params))


@EACH
def test_unknown_sets_layers_and_label_columns_get_near_names(
    technique: Technique[Any], params: dict[str, Any], sets: ImageSets
) -> None:
    with pytest.raises(UnknownName, match="'mine'"):
        _run(technique, sets, "mien", **params)
    with pytest.raises(UnknownName, match="'class'"):
        _run(technique, sets, "mine", **params, label="clas")
    wrong = {"target": "conv33:1"} if "target" in params else {"layer": "conv33"}
    with pytest.raises(UnknownName, match="'conv3'"):
        _run(technique, sets, "mine", **params | wrong)


@EACH
def test_an_empty_folder_is_refused(technique: Technique[Any], params: dict[str, Any], sets: ImageSets) -> None:
    with pytest.raises(InvalidImageSet, match="is empty") as refusal:
        _run(technique, sets, "empty", **params)
    assert refusal.value.reason == "IMAGE_SET_EMPTY"


@EACH
def test_pictures_that_are_all_the_same_are_answered_in_order(
    technique: Technique[Any], params: dict[str, Any], sets: ImageSets
) -> None:
    seen = _run(technique, sets, "same", **params)
    for table in seen.all(Table):
        names = [row["name"] for row in table.rows if "name" in row]
        assert names == sorted(names)
    assert all(np.isfinite(value) for value in seen.scores.values())


@EACH
def test_pictures_of_any_size_and_mode_have_a_place(
    technique: Technique[Any], params: dict[str, Any], sets: ImageSets
) -> None:
    seen = _run(technique, sets, "odd", **params)
    assert seen.all(Image) or seen.all(ImageGrid)
    assert any("5 of 5 pictures" in note for note in seen.notes)


@pytest.mark.parametrize("writes", [0, 1, 4, 8])
def test_a_disk_that_is_full_at_any_moment_leaves_no_half_of_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    store = IndexStore(tmp_path / "index")
    sets = ImageSets({"mine": folder_of(tmp_path / "mine", 9)}, store=store)
    sync, calls = os.fsync, []

    def full(file: int) -> None:
        calls.append(file)
        if len(calls) > writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match="make room there and ask again"):
            _run(nearest_neighbors, sets, "mine", layer="conv3", k=3)
    whole = _run(nearest_neighbors, sets, "mine", layer="conv3", k=3)
    anew = _run(nearest_neighbors, ImageSets({"mine": tmp_path / "mine"}), "mine", layer="conv3", k=3)
    for space in ("pixels", "features"):
        assert whole.one(Table, space).rows == anew.one(Table, space).rows
