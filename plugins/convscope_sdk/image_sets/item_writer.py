"""Writes one layer's part of an index, picking up where an earlier process was stopped."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope_sdk.image_sets.item import (
    DIGESTS,
    FEATURES,
    FILES,
    LENGTHS,
    MAXIMA,
    MEMBERS,
    PLACES,
    SUMMARY,
    VECTORS,
    Item,
    Meta,
    mapped,
    read_summary,
    summary_arrays,
)
from convscope_sdk.image_sets.parts import META
from convscope_sdk.image_sets.units import Best, ChannelStatistics, Responses

__all__ = ["Donor", "ItemWriter"]

Ints = NDArray[np.int64]
Donor = tuple[Item, Ints]
"""A whole item whose pictures are all in this set, in the same order, and the numbers that its rows have here."""

_ROWS_COPIED = 4096  # in one step of a merge


class ItemWriter:
    """Writes an item, from where it was left.

    Args:
        item: What to write.
        todo: Numbers of the pictures that have to be looked at, ascending.
        donor: Where the other pictures' rows are, if there are others.

    Attributes:
        done: How many of `todo` have been.
        damaged: Pictures left out: number in the set, and why.
        seconds: What it has taken so far, earlier processes included.

    Raises:
        OSError: the disk has no room for it, or it cannot be written to.
    """

    def __init__(self, item: Item, todo: Ints, donor: Donor | None = None) -> None:
        self.item = item
        self.todo = todo
        self.done = 0
        self.damaged: dict[int, str] = {}
        self.seconds = 0.0
        self._donor = donor
        self._rows = 0
        self._widths: dict[str, int] = {}
        self._best: Best | None = None
        self._statistics: ChannelStatistics | None = None
        self._files: dict[str, io.BufferedWriter] = {}
        self._resume()

    def append(self, numbers: Ints, seen: Responses, places: Ints | None) -> None:
        """Add the pictures of one batch; `places` as `Responses.at` takes them.

        Raises:
            OSError: the disk has no room for them.
        """
        values, positions = seen.maxima()
        features = seen.means()
        lengths = np.einsum("ij,ij->i", features, features)
        rows: dict[str, NDArray[Any]] = {FEATURES: features, LENGTHS: lengths[:, None]}
        if seen.values.shape[2] > 1:
            rows[MAXIMA] = values
        if places is not None:
            vectors, where = seen.at(places)
            rows |= {VECTORS: vectors.reshape(len(numbers), -1), PLACES: where.reshape(len(numbers), -1)}
        for file, array in rows.items():
            self._widths[file] = array.shape[1]
            self._file(file).write(np.ascontiguousarray(array, FILES[file]).data)
        self._file(MEMBERS).write(numbers.astype("<i8").data)
        self._rows += len(numbers)
        self._keep(Best.of(values, positions, numbers), ChannelStatistics.of(seen))

    def checkpoint(self) -> None:
        """Make sure of everything so far: a process that is killed now loses nothing of it.

        Raises:
            OSError: the disk has no room for it.
        """
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        state = {
            "done": self.done,
            "rows": self._rows,
            "widths": self._widths,
            "seconds": self.seconds,
            "damaged": {str(number): why for number, why in self.damaged.items()},
            "todo": _fingerprint(self.todo),
        }
        # What must agree lies in one file, and that is replaced as one.
        _write(self.item.partial / SUMMARY, _npz(self._summary() | {"state": np.array(json.dumps(state))}))

    def finish(self, digests: NDArray[np.uint8], set_name: str) -> Iterator[None]:
        """Steps that make the item whole; the last is one rename.

        Args:
            digests: (N, 32) of every picture of the set.
            set_name: Whose it is.

        Raises:
            OSError: the disk has no room for it.
        """
        self.checkpoint()
        self.close()
        whole, members, reused = self.item.partial, self._own_members(), 0
        if self._donor is not None:
            whole, reused = whole / "merged", len(self._donor[1])
            yield from self._merge(whole, *self._donor)
            members = np.sort(np.concatenate([members, self._donor[1]]))
            _write(whole / MEMBERS, members.astype("<i8").tobytes())
            _write(whole / SUMMARY, _npz(self._summary()))
        _write(whole / DIGESTS, digests[members].tobytes())
        damaged = {str(number): why for number, why in sorted(self.damaged.items())}
        meta = Meta(len(members), self._widths, damaged, set_name, self.seconds, reused)
        _write(whole / META, meta.text().encode())
        shutil.rmtree(self.item.path, ignore_errors=True)
        whole.replace(self.item.path)
        shutil.rmtree(self.item.partial, ignore_errors=True)

    def close(self) -> None:
        """Let go of the files. What no checkpoint made sure of is dropped by whoever picks up here."""
        files, self._files = self._files, {}
        for file in files.values():
            try:
                file.close()
            except OSError:  # a full disk: its last bytes are dropped as any after the checkpoint
                file.raw.close()

    def _keep(self, best: Best, statistics: ChannelStatistics) -> None:
        if self._best is None or self._statistics is None:
            self._best, self._statistics = best.kept(self.item.top_k), statistics
        else:
            self._best = self._best.merge(best, self.item.top_k)
            self._statistics = self._statistics.merge(statistics)

    def _resume(self) -> None:
        partial = self.item.partial
        partial.mkdir(parents=True, exist_ok=True)
        if not self._load():
            shutil.rmtree(partial)
            partial.mkdir()
            return
        for file, width in (self._widths | {MEMBERS: 1}).items():
            if (partial / file).exists():
                os.truncate(partial / file, self._rows * width * FILES[file].itemsize)

    def _load(self) -> bool:
        """Go on from the last checkpoint; False where there is none, or it is not ours to go on with."""
        partial = self.item.partial
        try:
            with np.load(partial / SUMMARY, allow_pickle=False) as arrays:
                state = json.loads(str(arrays["state"]))
                summary = read_summary(arrays) if state["rows"] else (None, None)
            rows, widths = state["rows"], state["widths"]
            if state["todo"] != _fingerprint(self.todo) or any(
                (partial / file).stat().st_size < rows * width * FILES[file].itemsize for file, width in widths.items()
            ):
                return False
        except (OSError, ValueError, KeyError):
            return False
        self.done, self._rows, self._widths, self.seconds = state["done"], rows, widths, state["seconds"]
        self.damaged = {int(number): why for number, why in state["damaged"].items()}
        self._best, self._statistics = summary
        return True

    def _merge(self, whole: Path, donor: Item, theirs: Ints) -> Iterator[None]:
        """Steps that write every row file anew, the donor's rows and ours in the order of the set."""
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir()
        ours = self._own_members()
        self._widths = self._widths or dict(donor.meta().widths)
        numbers = np.concatenate([theirs, ours])
        order = np.argsort(numbers, kind="stable")
        for file, width in self._widths.items():
            yield from _copy_rows(whole / file, (donor.rows(file), self._own_rows(file, width)), order)
        best, statistics = donor.summary()
        best.images = theirs[np.searchsorted(donor.members(), best.images)]
        self._keep(best, statistics)

    def _own_members(self) -> Ints:
        path = self.item.partial / MEMBERS
        return np.fromfile(path, "<i8") if path.exists() else np.zeros(0, np.int64)

    def _own_rows(self, file: str, width: int) -> NDArray[Any]:
        path = self.item.partial / file
        return mapped(path, width) if path.exists() else np.zeros((0, width), FILES[file])

    def _summary(self) -> dict[str, NDArray[Any]]:
        if self._best is None or self._statistics is None:
            return {}
        return summary_arrays(self._best, self._statistics)

    def _file(self, name: str) -> io.BufferedWriter:
        if name not in self._files:
            self._files[name] = (self.item.partial / name).open("ab")
        return self._files[name]


def _copy_rows(path: Path, sources: tuple[NDArray[Any], NDArray[Any]], order: Ints) -> Iterator[None]:
    first, second = sources
    with path.open("wb") as file:
        for start in range(0, len(order), _ROWS_COPIED):
            rows = order[start : start + _ROWS_COPIED]
            chunk = np.empty((len(rows), first.shape[1]), first.dtype)
            mine = rows >= len(first)
            chunk[~mine] = first[rows[~mine]]
            chunk[mine] = second[rows[mine] - len(first)]
            file.write(chunk.data)
            yield
        file.flush()
        os.fsync(file.fileno())


def _fingerprint(numbers: Ints) -> str:
    return hashlib.sha256(numbers.tobytes()).hexdigest()


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # NumPy's stub takes the names for its own options
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    """The file is as it was or as it shall be, never between."""
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
