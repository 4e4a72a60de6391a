from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from convscope_sdk.image_sets.parts import lock, note_use, parts, remove, set_digest
from convscope_sdk.image_sets.store import IndexStore
from support.image_sets import drained, folder_of, image_set_of

LONG_AGO = 1_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore(tmp_path / "index")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "mine", 6)


def test_a_part_is_known_by_its_layer_with_who_used_it_last_and_when(folder: Path, store: IndexStore) -> None:
    image_set = image_set_of(folder, store)
    drained(image_set.index(["conv3", "penultimate"]))
    found = parts(store.directory)
    assert len(found) == 2
    assert {(part.digest, part.set_name, part.source) for part in found} == {(image_set.digest, "mine", "folder")}
    assert all(abs(part.used - time.time()) < 60 for part in found)
    assert all(part.size_bytes > 1000 for part in found)


def test_each_use_is_a_new_one(folder: Path, store: IndexStore) -> None:
    drained(image_set_of(folder, store).index(["conv3"]))
    (note,) = store.directory.rglob("*.used")
    os.utime(note, (LONG_AGO, LONG_AGO))
    assert [part.used for part in parts(store.directory)] == [LONG_AGO]
    drained(image_set_of(folder, store).index(["conv3"]))
    assert parts(store.directory)[0].used > LONG_AGO + 1


def test_a_removed_part_is_gone_whole_and_is_made_again(folder: Path, store: IndexStore) -> None:
    index, _ = drained(image_set_of(folder, store).index(["conv3"]))
    before = index.features("conv3").copy()
    index.kept("conv3").keep("something", {"a": before})
    (part,) = parts(store.directory)
    size = part.size_bytes
    assert remove(part) == size > before.nbytes
    assert parts(store.directory) == []
    assert not [file for file in store.directory.rglob("*") if file.is_file() and file.stat().st_size]
    assert (index.features("conv3") == before).all()
    again, _ = drained(image_set_of(folder, store).index(["conv3"]))
    assert not again.reused
    assert (again.features("conv3") == before).all()


def test_half_a_pass_is_a_part_too_but_stays_while_somebody_makes_it(folder: Path, store: IndexStore) -> None:
    steps = image_set_of(folder, store).index(["conv3"])
    next(steps)
    (part,) = parts(store.directory)
    assert remove(part) == 0
    assert part.path.with_suffix(".partial").is_dir()
    steps.close()
    assert parts(store.directory) == [part]
    assert remove(part) > 0
    assert parts(store.directory) == []


def test_what_was_left_before_there_were_notes_was_used_when_it_was_made(folder: Path, store: IndexStore) -> None:
    drained(image_set_of(folder, store).index(["conv3"]))
    (part,) = parts(store.directory)
    part.path.with_suffix(".used").unlink()
    os.utime(part.path, (LONG_AGO, LONG_AGO))
    (old,) = parts(store.directory)
    assert (old.path, old.set_name, old.source, old.used) == (part.path, "", "", LONG_AGO)
    for torn in (b"", b'{"set": "mi', b"[]"):
        part.path.with_suffix(".used").write_bytes(torn)
        assert parts(store.directory)[0].source == ""


def test_a_note_without_a_part_goes_too(tmp_path: Path) -> None:
    path = tmp_path / "network" / "layer" / set_digest(b"")
    note_use(path, "mine", "folder")
    (part,) = parts(tmp_path)
    assert remove(part) == 0
    assert parts(tmp_path) == []


def test_where_there_are_no_indexes_there_are_no_parts(tmp_path: Path) -> None:
    assert parts(tmp_path / "none") == []
    (tmp_path / "digests").write_text("{}")
    assert parts(tmp_path) == []


def test_a_note_that_cannot_be_made_hurts_nobody(tmp_path: Path) -> None:
    (tmp_path / "network").write_text("in the way")
    note_use(tmp_path / "network" / "layer" / set_digest(b""), "mine", "folder")


def test_a_part_that_is_gone_already_is_no_error(folder: Path, store: IndexStore) -> None:
    drained(image_set_of(folder, store).index(["conv3"]))
    (part,) = parts(store.directory)
    shutil.rmtree(part.path)
    part.path.with_suffix(".used").unlink()
    assert remove(part) == 0
    with part.path.with_suffix(".lock").open("a+") as file:
        lock(file)
        assert remove(part) == 0
