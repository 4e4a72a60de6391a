from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from convscope_sdk.errors import NotApplicable, UnknownName
from convscope_sdk.events import Note, Progress
from convscope_sdk.image_sets.store import IndexStore
from support.image_sets import drained, folder_of, image_set_of
from support.zoo import tiny

LAYERS = ("conv3", "penultimate", "logits")


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore(tmp_path / "index")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "mine", 21)


def test_it_holds_what_the_network_makes_of_each_picture(folder: Path, store: IndexStore) -> None:
    image_set = image_set_of(folder, store)
    index, _ = drained(image_set.index(LAYERS))
    with torch.no_grad():
        seen = tiny().activations(image_set.pixels(range(21)), *LAYERS)
    maps = seen["conv3"].flatten(2)
    assert len(index) == 21
    np.testing.assert_allclose(index.features("conv3"), maps.mean(2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(index.maxima("conv3"), maps.amax(2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(index.features("penultimate"), seen["penultimate"].flatten(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(index.logits(), seen["logits"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(index.maxima("logits"), index.logits())
    np.testing.assert_allclose(index.lengths("conv3"), (maps.mean(2) ** 2).sum(1), rtol=1e-5)


def test_channel_statistics_are_those_of_all_values_together(folder: Path, store: IndexStore) -> None:
    image_set = image_set_of(folder, store)
    index, _ = drained(image_set.index(["conv3"]))
    with torch.no_grad():
        maps = tiny().activations(image_set.pixels(range(21)), "conv3")["conv3"].double()
    by_channel = maps.transpose(0, 1).flatten(1)
    found = index.statistics("conv3")
    assert found.count == by_channel.shape[1]
    np.testing.assert_allclose(found.mean, by_channel.mean(1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.std, by_channel.std(1, correction=0), rtol=1e-5)
    np.testing.assert_allclose(found.max, by_channel.amax(1), rtol=1e-5)


def test_the_best_pictures_of_a_channel_are_sorted_and_reproduce(folder: Path, store: IndexStore) -> None:
    image_set = image_set_of(folder, store)
    index, _ = drained(image_set.index(["conv3"]))
    top = index.top("conv3", 5)
    assert top.values.shape == top.rows.shape == (16, 5)
    assert (np.diff(top.values, axis=1) <= 0).all()
    with torch.no_grad():
        maps = tiny().activations(index.pixels(range(21)), "conv3")["conv3"].numpy()
    for channel in range(16):
        best = np.argsort(-maps[:, channel].max((1, 2)), kind="stable")[:5]
        np.testing.assert_array_equal(top.rows[channel], best)
        for value, row, (y, x) in zip(top.values[channel], top.rows[channel], top.positions[channel], strict=True):
            assert maps[row, channel, y, x] == pytest.approx(value, abs=1e-5)


def test_vectors_are_the_layers_own_at_their_positions(folder: Path, store: IndexStore) -> None:
    image_set = image_set_of(folder, store)
    index, _ = drained(image_set.index(["conv3"], positions=4))
    vectors, places = index.vectors("conv3")
    assert vectors.shape == (21, 4, 16)
    with torch.no_grad():
        maps = tiny().activations(image_set.pixels(range(21)), "conv3")["conv3"].numpy()
    for row in range(21):
        for vector, (y, x) in zip(vectors[row], places[row], strict=True):
            np.testing.assert_allclose(vector, maps[row, :, y, x], rtol=1e-5, atol=1e-6)
    assert len(np.unique(places.reshape(-1, 2), axis=0)) > 20


def test_progress_counts_pictures_and_leaves_room_for_the_technique(folder: Path, store: IndexStore) -> None:
    image_set = image_set_of(folder, store)
    index, events = drained(image_set.index(["conv3"], further_steps=9))
    progress = [event for event in events if isinstance(event, Progress)]
    steps = [event.step for event in progress]
    assert steps == sorted(steps)
    assert steps[-1] == 21
    assert {event.total for event in progress} == {30}
    assert [event.text for event in events if isinstance(event, Note)] == [index.note]
    assert "21 of 21 pictures, indexed in" in index.note


def test_a_second_question_finds_the_answer_ready(folder: Path, store: IndexStore) -> None:
    first, _ = drained(image_set_of(folder, store).index(["conv3", "logits"]))
    second, events = drained(image_set_of(folder, store).index(["logits", "conv3"], top_k=3))
    assert (first.reused, second.reused) == (False, True)
    assert not [event for event in events if isinstance(event, Progress)]
    np.testing.assert_array_equal(first.features("conv3"), second.features("conv3"))


def test_layers_are_asked_for_by_any_of_their_names(folder: Path, store: IndexStore) -> None:
    index, _ = drained(image_set_of(folder, store).index(["last_conv"]))
    np.testing.assert_array_equal(index.features("last_conv"), index.features(tiny().aliases["last_conv"]))
    with pytest.raises(UnknownName, match="asked for") as refusal:
        index.features("conv1")
    assert refusal.value.reason == "LAYER_NOT_FOUND"


def test_an_unknown_layer_gets_near_names(folder: Path, store: IndexStore) -> None:
    with pytest.raises(UnknownName, match="'conv3'"):
        drained(image_set_of(folder, store).index(["conv33"]))


def test_more_than_was_kept_is_refused_with_what_to_ask_for(folder: Path, store: IndexStore) -> None:
    index, _ = drained(image_set_of(folder, store).index(["conv3"]))
    with pytest.raises(ValueError, match="top_k=33"):
        index.top("conv3", 33)
    with pytest.raises(ValueError, match="positions"):
        index.vectors("conv3")


def test_fewer_pictures_than_were_asked_for_are_all_there_are(tmp_path: Path, store: IndexStore) -> None:
    index, _ = drained(image_set_of(folder_of(tmp_path / "one", 1), store).index(["conv3", "penultimate"]))
    top = index.top("conv3", 9)
    assert top.values.shape == (16, 1)
    assert index.features("penultimate").shape == (1, 16)
    assert np.isfinite(index.statistics("penultimate").std).all()


def test_pictures_that_are_all_the_same_are_told_apart_by_number(tmp_path: Path, store: IndexStore) -> None:
    folder = folder_of(tmp_path / "same", 1)
    (file,) = folder.rglob("*.png")
    for number in range(1, 12):
        (file.parent / f"{number:04d}.png").write_bytes(file.read_bytes())
    index, _ = drained(image_set_of(folder, store).index(["conv3"]))
    np.testing.assert_array_equal(index.top("conv3", 12).rows, np.broadcast_to(np.arange(12), (16, 12)))


def test_a_layer_without_channels_is_refused(folder: Path, store: IndexStore) -> None:
    from convscope_sdk.image_sets.units import responses

    with pytest.raises(NotApplicable, match="penultimate"):
        responses(torch.zeros(4), "mixed")
