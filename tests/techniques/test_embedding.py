from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from convscope_sdk.conformance import Subject, check_goes_on_where_it_was_put_down
from convscope_sdk.errors import InvalidImageSet, InvalidParams, NotApplicable, UnknownName
from convscope_sdk.events import Image, Preview, Progress, Table
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_sdk.inprocess import start
from convscope_techniques.embedding.embedding import embedding
from convscope_techniques.embedding.projection import umap_layout
from support.collected import Collected
from support.image_sets import folder_of
from support.put_down import put_down
from support.zoo import tiny


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> ImageSets:
    root = tmp_path_factory.mktemp("sets")
    same = root / "same"
    same.mkdir()
    for number in range(5):
        PILImage.new("RGB", (40, 40), (90, 60, 30)).save(same / f"{number}.png")
    folders = {"mine": folder_of(root / "mine", 24), "one": folder_of(root / "one", 1), "same": same}
    return ImageSets(folders | {"three": folder_of(root / "three", 3)})


def _embed(sets: ImageSets, image_set: str = "mine", **params: Any) -> Collected:
    return Collected(embedding.run(tiny(), image_sets=sets, image_set=image_set, **{"size": 128, **params}))


def test_tsne_forms_step_by_step_and_ends_as_pictures_in_places_and_in_cells(sets: ImageSets) -> None:
    seen = _embed(sets, steps=300)
    rows = seen.one(Table, "coordinates").rows
    assert seen.one(Image, "scatter").image.shape == (3, 128, 128)
    assert seen.one(Image, "grid").image.shape == (3, 5 * 128, 5 * 128)
    assert len({(row["row"], row["column"]) for row in rows}) == len({row["name"] for row in rows}) == 24
    np.testing.assert_allclose([[row["x"], row["y"]] for row in rows], seen.tensor("coordinates"), rtol=1e-6)
    forming = [progress for progress in seen.all(Progress) if progress.metrics]
    assert len(forming) == len(seen.all(Preview)) == 6
    assert seen.all(Progress)[-1].step == seen.all(Progress)[-1].total
    assert forming[-1].metrics["kl_divergence"] == pytest.approx(seen.scores["kl_divergence"], abs=0.05)


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_the_report_says_how_far_neighbours_and_labels_survive(sets: ImageSets, method: str) -> None:
    seen = _embed(sets, method=method, steps=300)
    for score in ("trustworthiness", "continuity", "knn_accuracy", "knn_accuracy_features", "explained_variance"):
        assert 0.5 < seen.scores[score] <= 1
    assert seen.scores["grid_exact"] == 1


def test_a_label_that_pictures_have_is_in_the_table_and_another_gets_near_names(sets: ImageSets) -> None:
    rows = _embed(sets, method="pca", label="class").one(Table, "coordinates").rows
    assert all(row["name"].startswith(row["label"]) for row in rows)
    with pytest.raises(UnknownName, match="'class'"):
        _embed(sets, label="clas")


def test_an_unknown_set_or_layer_gets_near_names(sets: ImageSets) -> None:
    with pytest.raises(UnknownName, match="'mine'"):
        _embed(sets, "min")
    with pytest.raises(UnknownName, match="'conv3'"):
        _embed(sets, layer="conv33")


def test_a_perplexity_that_is_too_large_is_refused_with_one_to_use(sets: ImageSets) -> None:
    with pytest.raises(InvalidParams, match=r"take perplexity=7\.6"):
        _embed(sets, perplexity=8)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_pictures_that_are_all_the_same_lie_at_one_point_in_cells_of_their_own(sets: ImageSets, metric: str) -> None:
    seen = _embed(sets, "same", metric=metric)
    assert not seen.tensor("coordinates").any()
    rows = seen.one(Table, "coordinates").rows
    assert len({(row["row"], row["column"]) for row in rows}) == 5
    assert any("all 5 images have the same features" in note for note in seen.notes)
    assert "trustworthiness" not in seen.scores


def test_one_picture_is_a_layout_of_its_own_and_three_are_too_few_for_tsne(sets: ImageSets) -> None:
    seen = _embed(sets, "one", method="pca")
    assert tuple(seen.tensor("coordinates").shape) == (1, 2)
    with pytest.raises(NotApplicable, match="method=pca"):
        _embed(sets, "three")


def test_more_neighbours_than_images_are_fewer_when_judging_and_refused_for_umap(sets: ImageSets) -> None:
    seen = _embed(sets, method="pca", k=50)
    assert any("judged by 11 neighbours" in note for note in seen.notes)
    with pytest.raises(InvalidParams, match="take neighbors=23"):
        _embed(sets, method="umap", neighbors=30)


def test_by_angle_the_length_of_features_does_not_count(sets: ImageSets, tmp_path: Path) -> None:
    by_angle, by_length = (_embed(sets, method="pca", metric=metric) for metric in ("cosine", "l2"))
    assert not np.allclose(by_angle.tensor("coordinates"), by_length.tensor("coordinates"))
    assert by_angle.scores["trustworthiness"] > 0.5


def test_umap_leaves_the_number_of_threads_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    class Threaded:
        """What numba does when it first works."""

        def __init__(self, **_: Any) -> None:
            torch.set_num_threads(before + 1)

        def fit_transform(self, features: Any) -> Any:
            return features[:, :2]

    before = torch.get_num_threads()
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Threaded))
    umap_layout(np.zeros((6, 3)), neighbors=2, min_dist=0.1, seed=0)
    assert torch.get_num_threads() == before


def test_another_look_at_the_same_set_opens_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = ImageSets({"mine": folder_of(tmp_path / "mine", 6)})
    first = _embed(sets, method="pca")
    monkeypatch.setattr(ImageSet, "picture", None)
    monkeypatch.setattr(ImageSet, "checked_pixels", None)
    second = _embed(sets, method="pca")
    np.testing.assert_array_equal(second.one(Image, "scatter").image, first.one(Image, "scatter").image)
    assert second.all(Progress)[-1].step == second.all(Progress)[-1].total


def test_it_goes_on_where_tsne_was_put_down() -> None:
    check_goes_on_where_it_was_put_down(Subject(embedding, params={"steps": 300, "size": 64, "preview_every": 70}))


def test_it_can_be_told_to_form_for_longer(sets: ImageSets) -> None:
    given = {"image_sets": sets, "params": {"image_set": "mine", "size": 64, "steps": 250}}
    _, saved = put_down(embedding, tiny(), state=5, **given)
    given["params"] = {**given["params"], "steps": 400, "preview_every": 100}
    rest = Collected(start(embedding, tiny(), saved=saved, **given))
    assert torch.equal(rest.tensor("coordinates"), _embed(sets, size=64, steps=400).tensor("coordinates"))


def test_it_does_not_go_on_with_pictures_that_are_others_by_now(tmp_path: Path) -> None:
    given = {"image_sets": {"mine": folder_of(tmp_path, 9)}, "params": {"image_set": "mine", "size": 64, "steps": 250}}
    _, saved = put_down(embedding, tiny(), state=1, **given)
    first = min(tmp_path.rglob("*.png"))
    PILImage.new("RGB", (40, 40), (90, 60, 30)).save(first)
    with pytest.raises(InvalidImageSet, match="not what it was"):
        list(start(embedding, tiny(), saved=saved, **given))
