from __future__ import annotations

from pathlib import Path

import pytest

from convscope_sdk.errors import InvalidImageSet, InvalidParams, UnknownName
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.digest_cache import DigestCache
from convscope_sdk.image_sets.folder import FolderSource, folder_spec
from convscope_sdk.image_sets.samples import SamplesSource
from support.image_sets import folder_of
from support.zoo import tiny


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    spec = folder_spec("mine", folder_of(tmp_path, 6))
    assert list(spec.names) == sorted(spec.names)
    assert list(spec.labels["class"]) == [name.split("/")[0] for name in spec.names]
    assert spec.read(0) == (tmp_path / spec.names[0]).read_bytes()


def test_hidden_files_and_files_that_are_no_pictures_are_passed_over(tmp_path: Path) -> None:
    folder_of(tmp_path, 3)
    for name in (".hidden.png", "notes.txt", ".cache/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert len(folder_spec("mine", tmp_path).names) == 3


def test_a_table_beside_the_pictures_gives_label_columns(tmp_path: Path) -> None:
    folder_of(tmp_path, 3)
    (tmp_path / "labels.csv").write_text("name,colour,size\nred/0002.png,warm,big\nblue/0000.png,cold,\n")
    spec = folder_spec("mine", tmp_path)
    assert list(spec.names) == ["blue/0000.png", "green/0001.png", "red/0002.png"]
    assert {name: list(values) for name, values in spec.labels.items()} == {
        "class": ["blue", "green", "red"],
        "colour": ["cold", "", "warm"],
        "size": ["", "", "big"],
    }


@pytest.mark.parametrize("text", ["", "file,colour\na.png,red\n", "\xff"])
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    folder_of(tmp_path, 1)
    (tmp_path / "labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidImageSet, match=r"labels\.csv") as refusal:
        folder_spec("mine", tmp_path)
    assert refusal.value.reason == "IMAGE_SET_LABELS"


def test_an_empty_folder_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidImageSet, match=r"\.jpg") as refusal:
        folder_spec("mine", tmp_path)
    assert refusal.value.reason == "IMAGE_SET_EMPTY"


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImageSet, match="check the path"):
        folder_spec("mine", tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["", ".", "..", "../mine", "mine/red", "nothing"])
def test_no_name_leads_out_of_the_directory_of_sets(tmp_path: Path, name: str) -> None:
    folder_of(tmp_path / "mine", 1)
    source = FolderSource(tmp_path)
    assert [entry.name for entry in source.entries()] == ["mine"]
    assert source.spec("mine") is not None
    assert source.spec(name) is None


def test_a_digest_is_computed_once_for_a_file_that_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    kept = tmp_path / "kept" / "digests.json"
    cache = DigestCache(kept)
    first = cache.digest(file)
    cache.save()
    file.chmod(0o000)
    file.chmod(0o644)  # its change time is another now
    assert DigestCache(kept).digest(file) == first
    file.write_bytes(b"two")
    assert DigestCache(kept).digest(file) != first


def test_a_broken_file_of_digests_costs_time_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "digests.json").write_text("{")
    assert len(DigestCache(tmp_path / "digests.json").digest(tmp_path / "a.png")) == 32


def test_the_samples_are_the_same_for_everyone() -> None:
    first, second = (SamplesSource().spec("samples") for _ in range(2))
    assert first is not None
    assert second is not None
    assert len(first.names) == 132
    assert len(set(first.labels["class"])) == 11
    crop, again = first.read(17), second.read(17)
    assert not isinstance(crop, bytes)
    assert not isinstance(again, bytes)
    assert crop.tobytes() == again.tobytes()
    assert min(crop.size) > 64


def test_an_unknown_set_gets_near_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="'samples'") as refusal:
        ImageSets({"mine": tmp_path}).open("sampels", tiny())
    assert refusal.value.reason == "IMAGE_SET_NOT_FOUND"


def test_an_unknown_label_column_gets_near_names(tmp_path: Path) -> None:
    image_set = ImageSets({"mine": folder_of(tmp_path, 2)}).open("mine", tiny())
    assert image_set.labels("class") == image_set.labels()
    with pytest.raises(UnknownName, match="'class'") as refusal:
        image_set.labels("clas")
    assert refusal.value.reason == "LABEL_COLUMN_NOT_FOUND"


def test_pictures_of_a_set_have_one_size(tmp_path: Path) -> None:
    with pytest.raises(InvalidParams, match="crop, resize or pad"):
        ImageSets().open("samples", tiny(), fit="keep")
    image_set = ImageSets({"mine": folder_of(tmp_path, 4)}).open("mine", tiny(), fit="pad")
    assert image_set.pixels(range(4)).shape == (4, 3, 32, 32)
