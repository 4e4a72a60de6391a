from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope_sdk.image_sets.item import Item
from convscope_sdk.image_sets.kept import Kept
from convscope_sdk.image_sets.store import IndexStore
from support.image_sets import drained, folder_of, image_set_of

ARRAYS = {"numbers": np.arange(6).reshape(2, 3), "flags": np.array([True, False])}


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "a.kept")
    assert kept.find("halves") is None
    assert kept.keep("halves", ARRAYS) is ARRAYS
    found = kept.find("halves")
    assert found is not None
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in ARRAYS.items()}
    assert kept.find("thirds") is None


def test_who_comes_second_changes_nothing(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.keep("halves", ARRAYS)
    kept.keep("halves", {"numbers": np.zeros(3)})
    found = kept.find("halves")
    assert found is not None
    assert set(found) == set(ARRAYS)
    assert [path.name for path in tmp_path.iterdir()] == ["halves"]


def test_a_full_disk_keeps_nothing_and_the_arrays_are_there_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = np.save, []

    def full(*args: Any, **options: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(*args, **options)

    monkeypatch.setattr(np, "save", full)
    assert Kept(tmp_path).keep("halves", ARRAYS) is ARRAYS
    assert Kept(tmp_path).find("halves") is None
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    Kept(tmp_path).keep("halves", ARRAYS)
    (tmp_path / "halves" / "flags.npy").write_bytes(b"")
    assert Kept(tmp_path).find("halves") is None


def test_what_is_kept_goes_with_the_state_of_the_set_that_it_is_of(tmp_path: Path) -> None:
    store, folder = IndexStore(tmp_path / "index"), folder_of(tmp_path / "mine", 4)
    before, _ = drained(image_set_of(folder, store).index(["conv3"]))
    before.kept("conv3").keep("halves", ARRAYS)
    again, _ = drained(image_set_of(folder, store).index(["conv3"]))
    assert again.kept("conv3").find("halves") is not None
    folder_of(folder, 1, start=4)
    after, _ = drained(image_set_of(folder, store).index(["conv3"]))
    assert after.kept("conv3").find("halves") is None
    assert list(store.directory.rglob("halves")) == []
    assert Item("conv3", 1, 0, tmp_path, "digest").kept.parent == tmp_path
