"""An image set as a technique sees it: pictures, labels, and the index of what the network makes of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope_sdk.errors import InvalidImage, InvalidImageSet, TechniqueError, UnknownName
from convscope_sdk.events import Event, Note, Progress
from convscope_sdk.image_sets.item import FORMAT, Item
from convscope_sdk.image_sets.parts import note_use, set_digest
from convscope_sdk.image_sets.pixel_space import pixel_edge
from convscope_sdk.image_sets.spec import ImageSetSpec
from convscope_sdk.images import MAX_PIXELS, fit_image, open_image, to_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from convscope_sdk.image_sets.index import Index
    from convscope_sdk.image_sets.store import IndexStore
    from convscope_sdk.network import Network

__all__ = ["ImageSet"]

SetFit = Literal["crop", "resize", "pad"]

_TOP_K = 32
_STEP_SECONDS = 0.2
_WAIT_SECONDS = 0.05
_DIGEST_BYTES = 32
_GONE = bytes(_DIGEST_BYTES)


class ImageSet:
    """The pictures of a set, as they were when the run began, through the eyes of one network.

    Attributes:
        network: The network that looks at them.
        name: As asked for.
        names: What each picture is called, by its number in the set.
        label_columns: Names of the label columns; the first is the usual one. Empty where nothing is labelled.
    """

    def __init__(
        self,
        spec: ImageSetSpec,
        network: Network,
        store: IndexStore,
        *,
        fit: SetFit = "crop",
        size: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.network = network
        self.name = spec.name
        self.names: Sequence[str] = spec.names
        self.label_columns = tuple(spec.labels)
        self._spec = spec
        self._store = store
        self._fit: SetFit = fit
        self._size = size
        self._max_pixels = max_pixels
        self._digests: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<ImageSet {self.name!r}: {len(self):,} pictures>"

    def labels(self, column: str | None = None) -> list[str]:
        """A label for each picture, "" where it has none: of the column, or of the first; empty where there is none.

        Raises:
            UnknownName: no such label column; carries near names.
        """
        if column is None:
            column = next(iter(self.label_columns), None)
            return [] if column is None else list(self._spec.labels[column])
        if column not in self._spec.labels:
            there = ", ".join(self.label_columns) or "none"
            raise UnknownName.among("label column", column, self.label_columns, hint=f"{self.name} has {there}")
        return list(self._spec.labels[column])

    def picture(self, number: int) -> Image.Image:
        """The picture as it is, RGB, 8-bit.

        Raises:
            InvalidImage: it cannot be read.
        """
        try:
            read = self._spec.read(number)
        except OSError as error:
            raise InvalidImage(f"cannot read {self.names[number]!r}: {error}", reason="IMAGE_UNREADABLE") from None
        return open_image(read, max_pixels=self._max_pixels).picture

    def pixels(self, numbers: Iterable[int]) -> Tensor:
        """(B, 3, H, W) the pictures as the network's evaluation wants them, RGB in [0, 1], on its device.

        Raises:
            InvalidImage: one cannot be read.
        """
        import torch

        pictures = [self._fitted(self.picture(number)) for number in numbers]
        return torch.cat(pictures).to(self.network.device)

    @property
    def digest(self) -> str:
        """Of all pictures in their order, 32 hexadecimal digits. Reads every file that may have changed."""
        return set_digest(self.digests.tobytes())

    @property
    def digests(self) -> NDArray[np.uint8]:
        """(N, 32) the sha256 of every picture; zeros where it cannot be read. Costs as `digest`."""
        if self._digests is None:
            for _ in self._scan():
                pass
        assert self._digests is not None
        return self._digests

    def check_is(self, digest: str) -> None:
        """Refuses to go on with what was made of the set when it was another, where a run is taken up.

        Raises:
            InvalidImageSet: its pictures are not those of that `digest`.
        """
        if digest != self.digest:
            raise InvalidImageSet(
                f"image set {self.name!r} is not what it was when this run was put down; begin a new one",
                reason="IMAGE_SET_CHANGED",
                metadata={"image_set": self.name},
            )

    def index(
        self,
        layers: Collection[str] = ("penultimate",),
        *,
        top_k: int = _TOP_K,
        positions: int = 0,
        further_steps: int = 0,
    ) -> Generator[Event, None, Index]:
        """What the network makes of every picture: `index = yield from image_set.index(["last_conv"])`.

        One pass makes what is missing, a batch each step, so that other runs have their turns and a cancel is seen.
        What there is already is taken as it is, also half a pass that was stopped, and what another run is making is
        waited for and helped with. Pictures that cannot be read are left out, and noted.

        Args:
            layers: Names or aliases; "logits" among them where logits are wanted, and `pixel_layer(32)` where the
                pictures themselves are, small.
            top_k: Pictures kept for each channel: at least this many can be asked for.
            positions: Random positions of each picture whose vectors are kept.
            further_steps: Steps that the technique will take afterwards. Progress then has a total of
                `len(image_set) + further_steps`; the technique goes on from `len(image_set)`.

        Yields:
            Progress while there is something to wait for; a note for the report.

        Raises:
            UnknownName: no such layer; carries near names.
            NotApplicable: an alias that the network does not have, or a layer without channels.
            InvalidImageSet: a picture changed meanwhile, or none can be read.
            DiskFull: there is no room.
        """
        names = [layer if pixel_edge(layer) else self.network.layer(layer).name for layer in layers]
        total = len(self) + further_steps
        if self._digests is None:
            for checked in self._scan():
                yield Progress(1, total, {"pictures_checked": float(checked)})
        items = {name: self._item(name, max(top_k, _TOP_K), positions) for name in names}
        for item in items.values():
            note_use(item.path, self.name, self._spec.source)
        index = self._opened(items, reused=True)
        while index is None:
            yield from self._make(list(items.values()), total)
            index = self._opened(items, reused=False)
        yield Note(index.note)
        return index

    # How

    def known_layer(self, layer: str, known: Collection[str]) -> str:
        """The one of `known` that the name or alias means.

        Raises:
            UnknownName: none of them; carries near names.
        """
        if layer in known:
            return layer
        try:
            name = self.network.layer(layer).name
        except TechniqueError:
            name = layer
        if name not in known:
            raise UnknownName.among("layer", layer, known, hint="it was not asked for when the index was opened")
        return name

    def checked_pixels(self, number: int) -> Tensor:
        """(1, 3, H, W) on the CPU, of the picture that was there when the set was opened.

        Raises:
            InvalidImage: it cannot be read, and could not then.
            InvalidImageSet: it could then, or it is another one now.
        """
        wanted = self.digests[number].tobytes()
        name = self.names[number]
        if wanted == _GONE:
            raise InvalidImage("the file cannot be read", reason="IMAGE_UNREADABLE")
        try:
            read = self._spec.read(number)
        except OSError as error:
            raise self._changed(name, f"is gone ({error})") from None
        if isinstance(read, bytes) and hashlib.sha256(read).digest() != wanted:
            raise self._changed(name, "is another picture now")
        return self._fitted(open_image(read, max_pixels=self._max_pixels).picture)

    def _make(self, items: Sequence[Item], total: int) -> Iterator[Event]:
        """Step whatever pass makes one of the items, until it is done."""
        from convscope_sdk.image_sets.forward_pass import ForwardPass

        missing = [item for item in items if not item.exists]
        at_work = self._store.working_at(missing)
        if at_work is None and missing:
            lock = self._store.lock(missing)
            if lock is None:  # another process is at it
                time.sleep(_WAIT_SECONDS)
                yield Progress(1, total)
                return
            try:
                at_work = ForwardPass(self, missing, self._store, lock)
            except BaseException:
                lock.release()
                raise
            self._store.passes.append(at_work)
        if at_work is not None:
            yield from self._store.follow(at_work, total)

    def _opened(self, items: dict[str, Item], *, reused: bool) -> Index | None:
        from convscope_sdk.image_sets.index import Index

        if not all(item.exists for item in items.values()):
            return None
        try:
            return Index(self, items, reused=reused)
        except FileNotFoundError:  # a later state of the set has just taken its place
            return None

    def _item(self, layer: str, top_k: int, positions: int) -> Item:
        spec = self.network.spec
        preparing: dict[str, Any] = {
            "format": FORMAT,
            "size": self._size or spec.input_size,
            "fit": self._fit,
            "interpolation": spec.interpolation,
            "crop_fraction": spec.crop_fraction,
        }
        if pixel_edge(layer):  # which no network changes
            return self._store.item(preparing, layer, self.digest, top_k=1, positions=0)
        seeing = {
            "weights": self.network.digest,
            "architecture": type(self.network.module).__qualname__,
            "mean": spec.mean,
            "std": spec.std,
        }
        return self._store.item(preparing | seeing, layer, self.digest, top_k=top_k, positions=positions)

    def _scan(self) -> Iterator[int]:
        """The digest of each picture; gives how many, every now and then."""
        digests = np.zeros((len(self), _DIGEST_BYTES), np.uint8)
        began = time.monotonic()
        for number in range(len(self)):
            digests[number] = np.frombuffer(self._digest(number), np.uint8)
            if time.monotonic() - began > _STEP_SECONDS:
                yield number + 1
                began = time.monotonic()
        self._digests = digests

    def _digest(self, number: int) -> bytes:
        try:
            if self._spec.digest is not None:
                return self._spec.digest(number)
            read = self._spec.read(number)
        except OSError:
            return _GONE
        if isinstance(read, bytes):
            return hashlib.sha256(read).digest()
        return hashlib.sha256(f"{read.mode} {read.size}".encode() + read.tobytes()).digest()

    def _fitted(self, picture: Image.Image) -> Tensor:
        return to_tensor(fit_image(picture, self.network.spec, fit=self._fit, size=self._size))

    def _changed(self, name: str, what: str) -> InvalidImageSet:
        return InvalidImageSet(
            f"image set {self.name!r} changed while it was indexed: {name!r} {what}; ask again when it is at rest",
            reason="IMAGE_SET_CHANGED",
            metadata={"image_set": self.name, "picture": name},
        )
