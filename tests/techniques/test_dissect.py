from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.errors import InvalidParams, UnknownName
from convscope_sdk.events import Image, ImageGrid, Progress, Table
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_techniques.synthesis.feature_visualization import feature_visualization
from convscope_techniques.units.dissect import dissect
from support.collected import Collected, array
from support.image_sets import folder_of
from support.put_down import goes_on
from support.zoo import tiny


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> ImageSets:
    root = tmp_path_factory.mktemp("sets")
    return ImageSets({"mine": folder_of(root / "mine", 21), "one": folder_of(root / "one", 1)})


def _dissect(sets: ImageSets, image_set: str = "mine", **params: Any) -> Collected:
    given = {"target": "conv3:4", "steps": 2, "size": 64, **params}
    return Collected(dissect.run(tiny(), image_sets=sets, image_set=image_set, seed=5, **given))


def _maxima(sets: ImageSets) -> torch.Tensor:
    with torch.no_grad():
        pixels = sets.open("mine", tiny()).pixels(range(21))
        return tiny().activations(pixels, "conv3")["conv3"][:, 4].flatten(1).amax(1)


def test_the_page_and_each_of_its_parts_are_there(sets: ImageSets) -> None:
    seen = _dissect(sets)
    assert seen.one(Image, "page").image.shape[0] == 3
    assert {image.name for image in seen.all(Image)} == {"page", "feature_visualization", "histogram"}
    assert len(seen.one(ImageGrid, "patches").tiles) == len(seen.one(Table, "patches").rows) == 9
    last = seen.all(Progress)[-1]
    assert last.step == last.total


def test_answers_are_the_channels_greatest_and_the_histogram_counts_them(sets: ImageSets) -> None:
    seen = _dissect(sets)
    np.testing.assert_allclose(seen.tensor("answers"), _maxima(sets), rtol=1e-5, atol=1e-6)
    rows = seen.one(Table, "histogram").rows
    assert sum(row["pictures"] for row in rows) == 21
    assert rows[0]["from"] == pytest.approx(float(_maxima(sets).min()), abs=1e-5)


def test_a_neurons_answers_are_those_at_its_place(sets: ImageSets) -> None:
    with torch.no_grad():
        pixels = sets.open("mine", tiny()).pixels(range(21))
        expected = tiny().activations(pixels, "conv3")["conv3"][:, 4, 2, 5]
    seen = _dissect(sets, target="conv3:4@2,5", k=3)
    np.testing.assert_allclose(seen.tensor("answers"), expected, rtol=1e-5, atol=1e-6)
    assert {(row["row"], row["column"]) for row in seen.one(Table, "patches").rows} == {(2, 5)}


def test_the_visualisation_is_that_of_feature_visualization_with_the_same_seed(sets: ImageSets) -> None:
    seen = _dissect(sets)
    alone = Collected(feature_visualization.run(tiny(), seed=5, target="conv3:4", steps=2, size=64))
    made = array(seen.one(Image, "feature_visualization").image)
    np.testing.assert_array_equal(made, array(alone.one(Image, "feature_visualization").image).reshape(made.shape))


def test_classes_are_sorted_by_their_correlation_over_the_set(sets: ImageSets) -> None:
    rows = _dissect(sets).one(Table, "classes").rows
    with torch.no_grad():
        logits = tiny().logits(sets.open("mine", tiny()).pixels(range(21)))
    assert [row["correlation"] for row in rows] == sorted((row["correlation"] for row in rows), reverse=True)
    first = rows[0]
    expected = np.corrcoef(_maxima(sets).numpy(), logits[:, first["class"]].numpy())[0, 1]
    assert first["correlation"] == pytest.approx(expected, abs=1e-4)
    assert {row["label"] for row in _dissect(sets).one(Table, "labels").rows} == {"blue", "green", "red"}


def test_one_picture_is_enough_and_goes_along_with_nothing(sets: ImageSets) -> None:
    seen = _dissect(sets, "one")
    assert all(row["correlation"] == 0 for row in seen.one(Table, "classes").rows)
    assert any("nothing goes along" in note for note in seen.notes)


def test_a_whole_layer_is_refused_with_a_channel_to_take(sets: ImageSets) -> None:
    with pytest.raises(InvalidParams, match="conv3:0"):
        _dissect(sets, target="conv3")
    with pytest.raises(UnknownName, match="'conv3'"):
        _dissect(sets, target="conv33:1")


@pytest.mark.parametrize(("target", "states"), [("conv3:4", 5), ("conv3:4@2,5", 7)], ids=["channel", "neuron"])
def test_it_goes_on_wherever_it_was_put_down(sets: ImageSets, target: str, states: int) -> None:
    params = {"image_set": "mine", "target": target, "steps": 4, "size": 64, "preview_every": 2}
    assert goes_on(dissect, tiny(), image_sets=sets, params=params, seed=5) == states
