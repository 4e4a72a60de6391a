"""Where indexes lie on disk, which of them are being made, and who makes them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convscope_sdk.events import Progress
from convscope_sdk.image_sets.item import Item
from convscope_sdk.image_sets.parts import lock

if TYPE_CHECKING:
    from convscope_sdk.image_sets.forward_pass import ForwardPass

__all__ = ["IndexStore", "Lock"]

_DIGEST_BYTES = 32
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")
_LONGEST = 80


class IndexStore:
    """A directory of indexes, one folder for each network and preprocessing, and within it one for each layer.

    Args:
        directory: Where; a temporary one that goes with this object where None.

    Attributes:
        passes: The passes that this process is taking.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.passes: list[ForwardPass] = []
        self._directory = directory

    @property
    def directory(self) -> Path:
        """Where."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="convscope-index-"))
            weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        return self._directory

    def item(self, seeing: object, layer: str, digest: str, *, top_k: int, positions: int) -> Item:
        """The part of an index that belongs to one layer.

        Args:
            seeing: Everything about network and preprocessing that can change a number, as JSON values.
            layer: Name of the layer, resolved.
            digest: Of the set.
            top_k: Pictures kept for each channel.
            positions: Random positions kept of each picture.
        """
        base = hashlib.sha256(json.dumps(seeing, sort_keys=True).encode()).hexdigest()[:_DIGEST_BYTES]
        # Names of layers may differ in case alone, or in what a file system does not take.
        mark = hashlib.sha256(layer.encode()).hexdigest()[:8]
        part = f"{_UNSAFE.sub('_', layer)[:_LONGEST]}-{mark}-k{top_k}-p{positions}"
        return Item(layer, top_k, positions, self.directory / base / part, digest)

    def donor(self, item: Item, digests: NDArray[np.uint8]) -> tuple[Item, NDArray[np.int64]] | None:
        """The largest whole item whose pictures are all among `digests`, in order, and their numbers there."""
        best: tuple[Item, NDArray[np.int64]] | None = None
        for other in self._whole(item):
            numbers = _places(other.digests(), digests)
            if numbers is not None and len(numbers) and (best is None or len(numbers) > len(best[1])):
                best = other, numbers
        return best

    def retire(self, item: Item, set_name: str) -> None:
        """Remove what earlier states of the set `set_name` left for this layer. Whoever reads it, goes on reading."""
        for other in self._whole(item):
            if other.digest != item.digest and other.meta().set_name == set_name:
                for path in (other.path, other.kept):
                    shutil.rmtree(path, ignore_errors=True)

    def working_at(self, items: Iterable[Item]) -> ForwardPass | None:
        """A pass of this process that is making one of the items."""
        paths = {item.path for item in items}
        return next((at_work for at_work in self.passes if paths & at_work.paths), None)

    def follow(self, at_work: ForwardPass, total: int) -> Iterator[Progress]:
        """Step a pass until it is finished, together with everyone else who does. The last to leave closes it."""
        at_work.users += 1
        try:
            while not at_work.finished and at_work in self.passes:
                at_work.step()
                yield Progress(max(1, at_work.done), total)
        except GeneratorExit:
            raise
        except BaseException:  # whoever else waits for it begins anew, and meets the same
            self._drop(at_work)
            raise
        finally:
            at_work.users -= 1
            if at_work.finished or not at_work.users:
                self._drop(at_work)

    def lock(self, items: Sequence[Item]) -> Lock | None:
        """The right to write these items, or None while another process has it for one of them."""
        stack = ExitStack()
        for item in sorted(items, key=lambda item: str(item.path)):
            item.directory.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((item.directory / f"{item.digest}.lock").open("a+"))
            try:
                lock(file)
            except OSError:
                stack.close()
                return None
        return Lock(stack)

    def _drop(self, at_work: ForwardPass) -> None:
        if at_work in self.passes:
            self.passes.remove(at_work)
            at_work.close()

    def _whole(self, item: Item) -> list[Item]:
        if not item.directory.is_dir():
            return []
        names = (path.name for path in item.directory.iterdir() if path.is_dir() and not path.suffix)
        others = (Item(item.layer, item.top_k, item.positions, item.directory, name) for name in names)
        return [other for other in others if other.exists]


class Lock:
    """Held until it is released, or the process ends."""

    def __init__(self, files: ExitStack) -> None:
        self._files = files

    def release(self) -> None:
        """Let others write."""
        self._files.close()


def _places(theirs: bytes, ours: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """Where each of their digests is among ours, ascending; None where one is missing or out of order."""
    found: list[int] = []
    count = len(theirs) // _DIGEST_BYTES
    mine = ours.tobytes()
    place = -1
    for row in range(count):
        wanted = theirs[row * _DIGEST_BYTES : (row + 1) * _DIGEST_BYTES]
        place += 1
        while place < len(ours) and mine[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES] != wanted:
            place += 1
        if place >= len(ours):
            return None
        found.append(place)
    return np.array(found, np.int64)
