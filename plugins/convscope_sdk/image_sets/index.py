"""What a network made of every picture of an image set, answered from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convscope_sdk.image_sets.item import FEATURES, LENGTHS, MAXIMA, PLACES, VECTORS, Item, Meta
from convscope_sdk.image_sets.kept import Kept
from convscope_sdk.image_sets.units import Best, ChannelStatistics

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from convscope_sdk.image_sets.image_set import ImageSet

__all__ = ["Index", "Top"]


@dataclass(frozen=True, slots=True)
class Top:
    """The pictures that excite each channel of a layer most: each picture once, greatest first, equal ones by row.

    Attributes:
        values: (C, k) float32.
        rows: (C, k) int64 rows of the index.
        positions: (C, k, 2) int64 row and column of the value in the layer's output; 0, 0 where it has no positions.
    """

    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]


class Index:
    """One row for each readable picture of a set, in the set's order.

    Arrays are mapped: a part of one costs when it is looked at.
    Rows are 0 to len - 1, and are what every method takes and gives; pictures that could not be read have none.

    Attributes:
        image_set: The set.
        members: (n,) number in the set of each row's picture.
        damaged: Why each picture that could not be read was left out, by name.
        reused: Whether everything was there already.
        seconds: What making it took, whenever that was.
    """

    def __init__(self, image_set: ImageSet, items: Mapping[str, Item], *, reused: bool) -> None:
        self.image_set = image_set
        self.reused = reused
        self._items = dict(items)
        self._metas: dict[str, Meta] = {name: item.meta() for name, item in self._items.items()}
        first = next(iter(self._items.values()))
        self.members: NDArray[np.int64] = first.members()
        damaged = next(iter(self._metas.values())).damaged
        self.damaged = {image_set.names[int(number)]: why for number, why in damaged.items()}
        self.seconds = max(meta.seconds for meta in self._metas.values())
        # Opened now: a later state of the set may remove them from the disk, but not from us.
        self._rows = {
            (name, file): item.rows(file) for name, item in self._items.items() for file in self._metas[name].widths
        }
        self._summaries = {name: item.summary() for name, item in self._items.items()}

    def __len__(self) -> int:
        return len(self.members)

    @property
    def names(self) -> Sequence[str]:
        """Of each row's picture."""
        return [self.image_set.names[number] for number in self.members]

    def labels(self, column: str | None = None) -> list[str]:
        """Of each row's picture, as `ImageSet.labels`.

        Raises:
            UnknownName: no such label column; carries near names.
        """
        labels = self.image_set.labels(column)
        return [labels[number] for number in self.members] if labels else []

    def picture(self, row: int) -> Image.Image:
        """The row's picture, as `ImageSet.picture`."""
        return self.image_set.picture(int(self.members[row]))

    def pixels(self, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """The rows' pictures as the network saw them, as `ImageSet.pixels`."""
        return self.image_set.pixels([int(self.members[row]) for row in rows])

    def features(self, layer: str) -> NDArray[np.float32]:
        """(n, C) of a layer, mean over positions, mapped. Copy it before changing it.

        Raises:
            UnknownName: the layer is not in this index; carries near names.
        """
        return self._file(layer, FEATURES)

    def lengths(self, layer: str) -> NDArray[np.float32]:
        """(n,) squared Euclidean lengths of the rows of `features`, mapped.

        Raises:
            UnknownName: as `features`.
        """
        return self._file(layer, LENGTHS)[:, 0]

    def maxima(self, layer: str) -> NDArray[np.float32]:
        """(n, C) of a layer, greatest over positions, mapped.

        Raises:
            UnknownName: as `features`.
        """
        name = self._name(layer)
        return self._rows.get((name, MAXIMA), self._rows[name, FEATURES])

    def logits(self) -> NDArray[np.float32]:
        """(n, classes), mapped; "logits" was among the layers asked for.

        Raises:
            UnknownName: it was not.
        """
        return self.features("logits")

    def vectors(self, layer: str) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """(n, p, C) a layer's vectors at p random positions of each picture, mapped, and (n, p, 2) row and column.

        Positions depend on the picture alone, with repetition. `positions=p` was asked for.

        Raises:
            UnknownName: as `features`.
            ValueError: no positions were asked for.
        """
        name = self._name(layer)
        count = self._items[name].positions
        if not count:
            raise ValueError("ask for positions: image_set.index(..., positions=16)")
        vectors = self._rows[name, VECTORS].reshape(len(self), count, -1)
        return vectors, self._rows[name, PLACES].reshape(len(self), count, 2)

    def top(self, layer: str, k: int) -> Top:
        """The k pictures that excite each channel of a layer most; fewer where there are fewer.

        Raises:
            UnknownName: as `features`.
            ValueError: more than the `top_k` that was asked for.
        """
        name = self._name(layer)
        if k > self._items[name].top_k:
            raise ValueError(f"the index keeps {self._items[name].top_k} pictures of each channel; ask for top_k={k}")
        best: Best = self._summaries[name][0]
        rows = np.searchsorted(self.members, best.images[:, :k])
        return Top(best.values[:, :k], rows, best.positions[:, :k])

    def statistics(self, layer: str) -> ChannelStatistics:
        """Mean, standard deviation and maximum of each channel over all pictures and positions.

        Raises:
            UnknownName: as `features`.
        """
        return self._summaries[self._name(layer)][1]

    def kept(self, layer: str) -> Kept:
        """Where a technique keeps what it derives from a layer's part: another state of the set has another.

        Raises:
            UnknownName: as `features`.
        """
        return Kept(self._items[self._name(layer)].kept)

    @property
    def note(self) -> str:
        """One sentence for the report: where this comes from, and what was left out."""
        name, count = self.image_set.name, len(self.image_set)
        source = "taken from its index" if self.reused else f"indexed in {self.seconds:.1f} s"
        text = f"image set {name}: {len(self):,} of {count:,} pictures, {source}"
        if not self.damaged:
            return text
        shown = list(self.damaged)[:_SHOWN]
        more = f" and {len(self.damaged) - _SHOWN:,} more" if len(self.damaged) > _SHOWN else ""
        return f"{text}; {len(self.damaged):,} could not be read and were left out: {', '.join(shown)}{more}"

    def _file(self, layer: str, file: str) -> NDArray[Any]:
        return self._rows[self._name(layer), file]

    def _name(self, layer: str) -> str:
        return self.image_set.known_layer(layer, self._items)


_SHOWN = 10
