"""One pass of a network over an image set, a batch at a time, for everyone who waits for it."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope_sdk.errors import DiskFull, InvalidImage, InvalidImageSet
from convscope_sdk.image_sets.item import Item
from convscope_sdk.image_sets.item_writer import ItemWriter
from convscope_sdk.image_sets.pixel_space import pixel_edge, pixel_points
from convscope_sdk.image_sets.units import responses

if TYPE_CHECKING:
    from convscope_sdk.image_sets.image_set import ImageSet
    from convscope_sdk.image_sets.store import IndexStore, Lock

__all__ = ["ForwardPass"]

Ints = NDArray[np.int64]

_BATCH_ON_CPU = 8  # a step is then short enough for others to have their turn
_BATCH = 64
_CHECKPOINT_SECONDS = 5.0
_MANY_POSITIONS = 2**62


class ForwardPass:
    """Makes the items that are missing. Each `step` looks at one batch; who steps it does not matter.

    Args:
        image_set: What to look at, its digests known.
        items: What to make; nobody else is making them.
        store: Where they lie.
        lock: The right to write them.

    Attributes:
        paths: Of what it makes.
        users: How many wait for it.
        finished: Whether everything is made.

    Raises:
        DiskFull: there is no room to begin.
    """

    def __init__(self, image_set: ImageSet, items: Sequence[Item], store: IndexStore, lock: Lock) -> None:
        self.paths = {item.path for item in items}
        self.users = 0
        self.finished = False
        self._set = image_set
        self._store = store
        self._lock = lock
        self._batch = _BATCH_ON_CPU if image_set.network.device.type == "cpu" else _BATCH
        self._writers: list[ItemWriter] = []
        self._finishing: Iterator[None] | None = None
        with self._room():
            self._writers = [self._writer(item) for item in items]
        self._saved = time.monotonic()

    @property
    def done(self) -> int:
        """Pictures looked at, or taken over from an earlier index; of the set's `len`."""
        return len(self._set) - max((len(w.todo) - w.done for w in self._writers), default=0)

    def step(self) -> None:
        """Look at one batch, or take one step towards the end.

        Raises:
            InvalidImageSet: a picture changed since the set was opened, or none can be read.
            DiskFull: there is no room; what was made so far is kept.
            TechniqueError: the network cannot be asked this.
        """
        with self._room():
            if self._finishing is not None:
                self.finished = next(self._finishing, self) is self
            elif self._remaining():
                self._look()
            else:
                self._finishing = self._finish()

    def close(self) -> None:
        """Stop here; whoever asks again goes on from here."""
        if not self.finished:
            try:
                for writer in self._writers:
                    writer.checkpoint()
            except OSError:  # a full disk keeps the checkpoint before
                pass
        for writer in self._writers:
            writer.close()
        self._lock.release()

    # A batch

    def _writer(self, item: Item) -> ItemWriter:
        donor = self._store.donor(item, self._set.digests)
        everyone = np.arange(len(self._set), dtype=np.int64)
        return ItemWriter(item, everyone if donor is None else np.setdiff1d(everyone, donor[1]), donor)

    def _remaining(self) -> list[ItemWriter]:
        return [writer for writer in self._writers if writer.done < len(writer.todo)]

    def _look(self) -> None:
        """The next pictures that any item lacks, into every item that lacks them."""
        began = time.monotonic()
        writers = self._remaining()
        first = min(int(writer.todo[writer.done]) for writer in writers)
        numbers = _next(writers, first, self._batch)
        pixels, readable, damaged = self._read(numbers)
        seen = self._seen(pixels, [writer.item.layer for writer in writers]) if len(readable) else {}
        seconds = time.monotonic() - began
        for writer in writers:
            mine = np.intersect1d(writer.todo[writer.done : writer.done + len(numbers)], numbers)
            rows = np.flatnonzero(np.isin(readable, mine))
            if len(rows):
                self._append(writer, readable[rows], seen[writer.item.layer][torch.from_numpy(rows)])
            writer.damaged |= {number: why for number, why in damaged.items() if number in mine}
            writer.done += len(mine)
            writer.seconds += seconds
        if time.monotonic() - self._saved > _CHECKPOINT_SECONDS:
            for writer in self._writers:
                writer.checkpoint()
            self._saved = time.monotonic()

    def _seen(self, pixels: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        """What each layer makes of a batch; of pixel space, the batch itself."""
        seen, layers = {}, []
        for layer in wanted:
            if (edge := pixel_edge(layer)) is None:
                layers.append(layer)
            else:
                seen[layer] = pixel_points(pixels, edge)
        if layers:
            with torch.no_grad():
                seen |= self._set.network.activations(pixels, *layers)
        return seen

    def _append(self, writer: ItemWriter, numbers: Ints, activation: Tensor) -> None:
        item = writer.item
        places = self._places(numbers, item.positions) if item.positions else None
        writer.append(numbers, responses(activation, item.layer), places)

    def _places(self, numbers: Ints, count: int) -> Ints:
        """Random positions that depend on the picture alone, so that they are the same in every index of it."""
        digests = self._set.digests[numbers]
        rngs = (np.random.default_rng(int.from_bytes(digest[:8].tobytes())) for digest in digests)
        return np.stack([rng.integers(0, _MANY_POSITIONS, count) for rng in rngs])

    def _read(self, numbers: Ints) -> tuple[Tensor, Ints, dict[int, str]]:
        """The batch, the numbers of the pictures in it, and why others could not be read."""
        read, tensors, damaged = [], [], {}
        for number in numbers.tolist():
            try:
                tensors.append(self._set.checked_pixels(number))
                read.append(number)
            except InvalidImage as error:
                damaged[number] = error.message
        pixels = torch.cat(tensors) if tensors else torch.empty(0)
        return pixels.to(self._set.network.device), np.array(read, np.int64), damaged

    # The end

    def _finish(self) -> Iterator[None]:
        for writer in self._writers:
            if not len(self._set) - len(writer.damaged):
                number, why = next(iter(writer.damaged.items()))
                raise InvalidImageSet(
                    f"none of the {len(self._set):,} pictures of image set {self._set.name!r} can be read; "
                    f"{self._set.names[number]}: {why}",
                    reason="IMAGE_SET_UNREADABLE",
                )
            yield from writer.finish(self._set.digests, self._set.name)
            self._store.retire(writer.item, self._set.name)

    def _room(self) -> _Room:
        return _Room(self._store)


class _Room:
    """Turns a full disk into a refusal that says so."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(
                f"there is no room for the index of this image set in {self._store.directory}; make room there and ask "
                "again: the pass goes on from its last checkpoint",
                reason="INDEX_DISK_FULL",
                metadata={"directory": str(self._store.directory)},
            ) from None


def _next(writers: Sequence[ItemWriter], first: int, count: int) -> Ints:
    """At most `count` of the smallest numbers that the writers have to look at next, from `first`."""
    ahead = np.unique(np.concatenate([writer.todo[writer.done : writer.done + count] for writer in writers]))
    return ahead[ahead >= first][:count]


def digest_of(digests: NDArray[np.uint8]) -> str:
    """The digest of a set from those of its members."""
    return hashlib.sha256(digests.tobytes()).hexdigest()[:32]
