from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from convscope_sdk.errors import InvalidParams, UnknownName
from convscope_sdk.events import ImageGrid, Progress, Table
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_techniques.embedding.cells import EXACT_UP_TO
from convscope_techniques.embedding.nearest_neighbors import nearest_neighbors
from support.collected import Collected
from support.image_sets import folder_of, noise
from support.put_down import goes_on
from support.zoo import tiny


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> ImageSets:
    root = tmp_path_factory.mktemp("sets")
    same = root / "same"
    same.mkdir()
    for number in range(4):
        PILImage.new("RGB", (40, 40), (90, 60, 30)).save(same / f"{number}.png")
    return ImageSets({"mine": folder_of(root / "mine", 18), "one": folder_of(root / "one", 1), "same": same})


def _near(sets: ImageSets, image: Any = None, image_set: str = "mine", **params: Any) -> Collected:
    return Collected(nearest_neighbors.run(tiny(), image, image_sets=sets, image_set=image_set, **params))


def _names(seen: Collected, space: str) -> list[str]:
    return [row["name"] for row in seen.one(Table, space).rows]


def test_a_picture_of_the_set_sent_as_an_image_is_its_own_nearest_at_distance_0(sets: ImageSets) -> None:
    file = noise(4, size=(33, 64), tint=2 - 4 % 3)
    seen = _near(sets, file, k=3)
    for space in ("pixels", "features"):
        first = seen.one(Table, space).rows[0]
        assert first["name"] == "green/0004.png"
        assert first["distance"] == pytest.approx(0, abs=1e-4)


def test_a_member_is_no_neighbour_of_itself(sets: ImageSets) -> None:
    seen = _near(sets, member="red/0005.png", k=17)
    for space in ("pixels", "features"):
        assert "red/0005.png" not in _names(seen, space)
        assert len(set(_names(seen, space))) == 17
        distances = [row["distance"] for row in seen.one(Table, space).rows]
        assert distances == sorted(distances)


def test_two_strips_show_the_query_and_its_neighbours(sets: ImageSets) -> None:
    sheet = _near(sets, member="red/0005.png", k=4).one(ImageGrid, "nearest_neighbors")
    assert len(sheet.tiles) == 2 * 5
    assert sheet.columns == 5
    assert sheet.labels[0] == "pixels: red"
    assert sheet.labels[5] == "features: red"


def test_precision_is_of_every_picture_asked_about_the_others(sets: ImageSets) -> None:
    seen = _near(sets, k=3)
    assert seen.scores["precision_at_3_pixels"] == 1  # one channel is lit in each class
    assert 0 <= seen.scores["precision_at_3_features"] <= 1
    assert seen.scores["hits_pixels"] == 1
    assert any("first picture of the set" in note for note in seen.notes)


def test_without_labels_there_is_no_precision(sets: ImageSets) -> None:
    seen = _near(sets, image_set="same", k=3)
    assert not any(name.startswith("precision") for name in seen.scores)


def test_pictures_that_are_all_the_same_are_neighbours_in_order(sets: ImageSets) -> None:
    seen = _near(sets, image_set="same", member="1.png", k=3)
    for space in ("pixels", "features"):
        assert _names(seen, space) == ["0.png", "2.png", "3.png"]


def test_more_neighbours_than_pictures_are_refused_with_how_many_there_are(sets: ImageSets) -> None:
    with pytest.raises(InvalidParams, match="take k=17") as refusal:
        _near(sets, k=18)
    assert refusal.value.violations[0].field == "params.k"
    assert len(_names(_near(sets, image_set="same"), "features")) == 3


def test_the_only_picture_of_a_set_has_no_neighbour_but_another_image_has_one(sets: ImageSets, tmp_path: Path) -> None:
    with pytest.raises(InvalidParams, match="larger set"):
        _near(sets, image_set="one")
    seen = _near(sets, np.zeros((40, 40, 3), np.uint8), image_set="one")
    assert len(_names(seen, "features")) == 1


def test_unknown_members_labels_and_layers_get_near_names(sets: ImageSets) -> None:
    with pytest.raises(UnknownName, match=r"'red/0005\.png'"):
        _near(sets, member="red/005.png")
    with pytest.raises(UnknownName, match="'class'"):
        _near(sets, label="classs")
    with pytest.raises(UnknownName, match="'penultimate'"):
        _near(sets, layer="penultimat")


def test_an_image_and_a_member_together_are_refused(sets: ImageSets) -> None:
    with pytest.raises(InvalidParams, match="not both"):
        _near(sets, np.zeros((40, 40, 3), np.uint8), member="red/0005.png")


def test_progress_ends_at_its_total(sets: ImageSets) -> None:
    last = _near(sets).all(Progress)[-1]
    assert last.step == last.total


def test_an_approximate_search_says_how_much_it_finds_and_on_few_pictures_finds_all(sets: ImageSets) -> None:
    exact, likely = (_near(sets, member="red/0005.png", k=4, search=search) for search in ("exact", "approximate"))
    for space in ("pixels", "features"):
        assert _names(likely, space) == _names(exact, space)
        assert likely.scores[f"recall_at_4_{space}"] == 1
    assert any("approximate search" in note for note in likely.notes)
    assert not any("approximate" in note for note in exact.notes)
    last = likely.all(Progress)[-1]
    assert last.step == last.total


def test_few_pictures_are_searched_exactly_and_many_are_not_unless_asked(
    sets: ImageSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert EXACT_UP_TO == 500_000
    assert "recall_at_4_features" not in _near(sets, k=4).scores
    monkeypatch.setattr("convscope_techniques.embedding.nearest_neighbors.EXACT_UP_TO", 17)
    assert "recall_at_4_features" in _near(sets, k=4).scores
    assert "recall_at_4_features" not in _near(sets, k=4, search="exact").scores


def test_what_was_found_out_once_is_not_found_out_again(sets: ImageSets, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _near(sets, member="red/0005.png", k=5, search="approximate")
    monkeypatch.setattr("convscope_techniques.embedding.nearest_neighbors.neighbors_in", None)
    monkeypatch.setattr("convscope_techniques.embedding.cells._centers", None)
    second = _near(sets, member="red/0005.png", k=5, search="approximate")
    assert {name: value for name, value in first.scores.items() if name.startswith("precision")} == {
        name: value for name, value in second.scores.items() if name.startswith("precision")
    }
    assert _names(second, "features") == _names(first, "features")


def test_pixel_space_is_kept_with_the_index_and_follows_the_set(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", 6)
    sets = ImageSets({"mine": folder})
    assert len(_names(_near(sets, member="red/0005.png", k=5), "pixels")) == 5
    opened: list[int] = []
    picture = ImageSet.picture

    def counted(self: ImageSet, number: int) -> PILImage.Image:
        opened.append(number)
        return picture(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageSet, "picture", counted)
        patch.setattr(ImageSet, "checked_pixels", None)
        _near(sets, member="red/0005.png", k=1)
    assert len(opened) == 3  # the query, and a neighbour in each strip
    folder_of(folder, 2, start=6)
    assert len(_names(_near(sets, member="red/0005.png", k=7), "pixels")) == 7


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_it_goes_on_behind_the_index(sets: ImageSets, search: str) -> None:
    assert goes_on(nearest_neighbors, tiny(), image_sets=sets, params={"image_set": "mine", "search": search}) == 1
