from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.errors import DiskFull, InvalidImageSet
from convscope_sdk.image_sets import forward_pass
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_sdk.image_sets.index import Index
from convscope_sdk.image_sets.item_writer import ItemWriter
from convscope_sdk.image_sets.store import IndexStore
from convscope_sdk.network import Network
from support.image_sets import drained, folder_of, image_set_of, noise
from support.pictures import truncated
from support.zoo import tiny

LAYERS = ("conv3", "logits")


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore(tmp_path / "index")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "mine", 21)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the pictures that passes read, in order."""
    numbers: list[int] = []
    checked = ImageSet.checked_pixels

    def counted(self: ImageSet, number: int) -> torch.Tensor:
        numbers.append(number)
        return checked(self, number)

    monkeypatch.setattr(ImageSet, "checked_pixels", counted)
    return numbers


def _same(first: Index, second: Index) -> None:
    """To the last bit where a picture was looked at in the same batch; else as close as batches are."""
    np.testing.assert_array_equal(first.members, second.members)
    for layer in LAYERS:
        np.testing.assert_allclose(first.features(layer), second.features(layer), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(first.maxima(layer), second.maxima(layer), rtol=1e-5, atol=1e-6)
        mine, theirs = first.top(layer, 9), second.top(layer, 9)
        np.testing.assert_allclose(mine.values, theirs.values, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(mine.rows, theirs.rows)
        np.testing.assert_array_equal(mine.positions, theirs.positions)
        np.testing.assert_allclose(first.statistics(layer).mean, second.statistics(layer).mean, rtol=1e-5)
        np.testing.assert_allclose(first.statistics(layer).std, second.statistics(layer).std, rtol=1e-5)
        assert first.statistics(layer).count == second.statistics(layer).count


def _fresh(folder: Path) -> Index:
    return drained(image_set_of(folder, IndexStore()).index(LAYERS))[0]


def test_a_pass_that_was_stopped_goes_on(folder: Path, store: IndexStore, looked_at: list[int]) -> None:
    steps = image_set_of(folder, store).index(LAYERS)
    next(steps)
    next(steps)
    steps.close()
    assert store.passes == []
    index, _ = drained(image_set_of(folder, store).index(LAYERS))
    assert looked_at == list(range(21))
    _same(index, _fresh(folder))


_KILLED = """
import sys
from pathlib import Path
from convscope_sdk.image_sets import forward_pass
from convscope_sdk.image_sets.store import IndexStore
from support.image_sets import image_set_of
forward_pass._CHECKPOINT_SECONDS = 0.0
steps = image_set_of(Path(sys.argv[1]), IndexStore(Path(sys.argv[2]))).index(("conv3", "logits"))
next(steps)
next(steps)
print("half", flush=True)
sys.stdin.read()
"""


def test_a_pass_that_was_killed_goes_on(folder: Path, store: IndexStore, looked_at: list[int]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(folder), str(store.directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stdin.close()
    index, _ = drained(image_set_of(folder, store).index(LAYERS))
    assert looked_at == list(range(16, 21))
    _same(index, _fresh(folder))


def test_rows_that_no_checkpoint_counts_are_made_again(folder: Path, store: IndexStore) -> None:
    steps = image_set_of(folder, store).index(LAYERS)
    next(steps)
    steps.close()
    for file in store.directory.rglob("*.partial/*.f32"):
        with file.open("ab") as rows:
            rows.write(b"\xff" * 100)
    index, _ = drained(image_set_of(folder, store).index(LAYERS))
    _same(index, _fresh(folder))


def test_more_pictures_extend_it(folder: Path, store: IndexStore, looked_at: list[int]) -> None:
    drained(image_set_of(folder, store).index(LAYERS))
    looked_at.clear()
    folder_of(folder, 7, start=21)
    index, _ = drained(image_set_of(folder, store).index(LAYERS))
    assert len(looked_at) == 7
    assert len(index) == 28
    _same(index, _fresh(folder))


def test_an_extended_index_takes_the_place_of_the_old_one(folder: Path, store: IndexStore) -> None:
    before, _ = drained(image_set_of(folder, store).index(["conv3"]))
    features = np.array(before.features("conv3"))
    folder_of(folder, 3, start=21)
    drained(image_set_of(folder, store).index(["conv3"]))
    assert len(list(store.directory.rglob("meta.json"))) == 1
    np.testing.assert_array_equal(before.features("conv3"), features)


def test_a_changed_picture_makes_a_new_index(folder: Path, store: IndexStore, looked_at: list[int]) -> None:
    before, _ = drained(image_set_of(folder, store).index(LAYERS))
    file = folder / before.names[5]
    stamp = file.stat()
    noise(99).save(file)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after, _ = drained(image_set_of(folder, store).index(LAYERS))
    assert len(looked_at) == 42
    assert not after.reused
    assert not np.allclose(before.features("conv3")[5], after.features("conv3")[5])
    _same(after, _fresh(folder))


def test_a_changed_weight_makes_a_new_index(folder: Path, store: IndexStore) -> None:
    before, _ = drained(image_set_of(folder, store).index(["conv3"]))
    other = Network(_copy(tiny().module), tiny().spec)
    with torch.no_grad():
        next(other.module.parameters()).view(-1)[0] += 1
    after, _ = drained(image_set_of(folder, store, other).index(["conv3"]))
    assert not after.reused
    assert not np.array_equal(before.features("conv3"), after.features("conv3"))


@pytest.mark.parametrize("options", [{"fit": "resize"}, {"size": 48}])
def test_another_way_of_preparing_pictures_makes_a_new_index(
    folder: Path, store: IndexStore, options: dict[str, Any]
) -> None:
    drained(image_set_of(folder, store).index(["conv3"]))
    after, _ = drained(image_set_of(folder, store, **options).index(["conv3"]))
    assert not after.reused


def test_two_who_want_the_same_share_one_pass(folder: Path, store: IndexStore, looked_at: list[int]) -> None:
    first, second = (image_set_of(folder, store).index(layers) for layers in (LAYERS, LAYERS[::-1]))
    next(first)
    next(second)
    next(first)
    indexes = [drained(steps)[0] for steps in (second, first)]
    assert looked_at == list(range(21))
    _same(*indexes)


def test_one_who_leaves_does_not_stop_the_other(folder: Path, store: IndexStore, looked_at: list[int]) -> None:
    first, second = (image_set_of(folder, store).index(LAYERS) for _ in range(2))
    next(first)
    next(second)
    first.close()
    drained(second)
    assert looked_at == list(range(21))


def test_who_wants_more_layers_waits_only_for_what_is_being_made(
    folder: Path, store: IndexStore, looked_at: list[int]
) -> None:
    first = image_set_of(folder, store).index(["conv3"])
    next(first)
    index, _ = drained(image_set_of(folder, store).index(LAYERS))
    drained(first)
    assert sorted(looked_at) == sorted([*range(21), *range(21)])
    _same(index, _fresh(folder))


def test_another_process_is_waited_for(folder: Path, store: IndexStore) -> None:
    others = IndexStore(store.directory)
    theirs = image_set_of(folder, others).index(["conv3"])
    next(theirs)
    ours = image_set_of(folder, store).index(["conv3"])
    next(ours)
    assert store.passes == []
    made, _ = drained(theirs)
    index, _ = drained(ours)
    np.testing.assert_array_equal(index.features("conv3"), made.features("conv3"))


def test_damaged_pictures_are_left_out_and_named(folder: Path, store: IndexStore) -> None:
    (folder / "blue" / "0003.png").write_bytes(b"not a picture")
    (folder / "blue" / "0006.jpg").write_bytes(truncated())
    index, _ = drained(image_set_of(folder, store).index(LAYERS))
    assert len(index) == 20
    assert set(index.damaged) == {"blue/0003.png", "blue/0006.jpg"}
    assert "2 could not be read and were left out: blue/0003.png, blue/0006.jpg" in index.note
    assert "blue/0003.png" not in index.names
    _same(index, _fresh(folder))
    again, _ = drained(image_set_of(folder, store).index(LAYERS))
    assert again.damaged == index.damaged


def test_a_damaged_picture_that_was_mended_joins_the_others(folder: Path, store: IndexStore) -> None:
    file = folder / "blue" / "0003.png"
    whole = file.read_bytes()
    file.write_bytes(b"not a picture")
    drained(image_set_of(folder, store).index(LAYERS))
    file.write_bytes(whole)
    index, _ = drained(image_set_of(folder, store).index(LAYERS))
    assert len(index) == 21
    assert not index.damaged
    _same(index, _fresh(folder))


def test_a_set_of_which_nothing_can_be_read_is_refused(tmp_path: Path, store: IndexStore) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"not a picture")
    with pytest.raises(InvalidImageSet, match=r"none of the 1 pictures.*a\.png") as refusal:
        drained(image_set_of(tmp_path / "bad", store).index(["conv3"]))
    assert refusal.value.reason == "IMAGE_SET_UNREADABLE"
    assert list(store.directory.rglob("meta.json")) == []


def _gone(file: Path) -> None:
    file.unlink()


def _other(file: Path) -> None:
    noise(123).save(file)


@pytest.mark.parametrize("change", [_gone, _other])
def test_a_folder_that_changes_meanwhile_is_refused_and_then_read_anew(
    folder: Path, store: IndexStore, change: Callable[[Path], None]
) -> None:
    image_set = image_set_of(folder, store)
    steps = image_set.index(LAYERS)
    next(steps)
    change(folder / image_set.names[-1])
    with pytest.raises(InvalidImageSet, match=image_set.names[-1]) as refusal:
        drained(steps)
    assert refusal.value.reason == "IMAGE_SET_CHANGED"
    assert list(store.directory.rglob("meta.json")) == []
    index, _ = drained(image_set_of(folder, store).index(LAYERS))
    _same(index, _fresh(folder))


def test_a_full_disk_is_named_and_what_is_there_is_gone_on_with(
    folder: Path, store: IndexStore, monkeypatch: pytest.MonkeyPatch, looked_at: list[int]
) -> None:
    monkeypatch.setattr(forward_pass, "_CHECKPOINT_SECONDS", 0.0)
    append = ItemWriter.append
    calls = []

    def full(self: ItemWriter, *args: Any) -> None:
        calls.append(self)
        if len(calls) > 2 * len(LAYERS):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, *args)

    monkeypatch.setattr(ItemWriter, "append", full)
    with pytest.raises(DiskFull, match=str(store.directory)) as refusal:
        drained(image_set_of(folder, store).index(LAYERS))
    monkeypatch.setattr(ItemWriter, "append", append)
    assert refusal.value.reason == "INDEX_DISK_FULL"
    assert list(store.directory.rglob("meta.json")) == []
    looked_at.clear()
    index, _ = drained(image_set_of(folder, store).index(LAYERS))
    assert looked_at == list(range(16, 21))
    _same(index, _fresh(folder))


def _copy(module: torch.nn.Module) -> torch.nn.Module:
    import copy

    return copy.deepcopy(module)
