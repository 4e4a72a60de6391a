"""One layer's part of an index on disk: being written, picking up where it was left, or finished.

<layer>/<set digest>/           finished: appears in one rename, and is then only read
<layer>/<set digest>.kept/      what techniques derived from it
<layer>/<set digest>.partial/   rows are appended; as many as `summary.npz` counts have reached the disk
<layer>/<set digest>.used       who used it last; see `parts`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope_sdk.image_sets.parts import META
from convscope_sdk.image_sets.units import Best, ChannelStatistics

__all__ = ["FEATURES", "FILES", "FORMAT", "LENGTHS", "MAXIMA", "PLACES", "VECTORS", "Item", "Meta"]

Ints = NDArray[np.int64]

FORMAT = 1
"""Of what lies on disk: an index of another format is left alone."""

MEMBERS, DIGESTS, SUMMARY = "members.i64", "digests.bin", "summary.npz"
FEATURES, MAXIMA, VECTORS, PLACES = "features.f32", "maxima.f32", "vectors.f32", "places.i16"
LENGTHS = "lengths.f32"
FILES: Mapping[str, np.dtype[Any]] = {
    FEATURES: np.dtype("<f4"),
    LENGTHS: np.dtype("<f4"),
    MAXIMA: np.dtype("<f4"),
    VECTORS: np.dtype("<f4"),
    PLACES: np.dtype("<i2"),
    MEMBERS: np.dtype("<i8"),
}
"""Row files and what they hold."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is to be kept of one layer.

    Attributes:
        layer: Name of the layer, resolved.
        top_k: How many pictures are kept for each channel.
        positions: How many random positions of each picture are kept.
        directory: Where this layer's part of every index of one network and preprocessing lies.
        digest: Of the set.
    """

    layer: str
    top_k: int
    positions: int
    directory: Path
    digest: str

    @property
    def path(self) -> Path:
        """Where it lies once it is whole."""
        return self.directory / self.digest

    @property
    def partial(self) -> Path:
        """Where it lies while it is written."""
        return self.directory / f"{self.digest}.partial"

    @property
    def kept(self) -> Path:
        """Where what was derived from it lies."""
        return self.directory / f"{self.digest}.kept"

    @property
    def exists(self) -> bool:
        """Whether it is whole."""
        return (self.path / META).exists()

    def meta(self) -> Meta:
        """What is known of it once it is whole."""
        return Meta(**json.loads((self.path / META).read_text()))

    def rows(self, file: str) -> NDArray[Any]:
        """A row file, mapped: nothing is read before it is looked at."""
        return mapped(self.path / file, self.meta().widths[file])

    def members(self) -> Ints:
        """(n,) number in the set of each row's picture."""
        return np.fromfile(self.path / MEMBERS, "<i8")

    def digests(self) -> bytes:
        """32 bytes for each row's picture."""
        return (self.path / DIGESTS).read_bytes()

    def summary(self) -> tuple[Best, ChannelStatistics]:
        """Best pictures, by their number in the set, and channel statistics."""
        with np.load(self.path / SUMMARY, allow_pickle=False) as arrays:
            return read_summary(arrays)


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a whole item.

    Attributes:
        rows: Pictures in it.
        widths: Numbers of one row in each row file.
        damaged: Pictures left out: number in the set, and why.
        set_name: Whose it was made for.
        seconds: What making it took.
        reused: Rows that were taken over from an earlier index.
    """

    rows: int
    widths: dict[str, int]
    damaged: dict[str, str]
    set_name: str
    seconds: float
    reused: int = 0

    def text(self) -> str:
        """What `Item.meta` reads."""
        return json.dumps(asdict(self))


def mapped(path: Path, width: int) -> NDArray[Any]:
    """The row file, (n, width), mapped read-only; an empty array where it has no rows."""
    if path.stat().st_size == 0:
        return np.zeros((0, width), FILES[path.name])
    return np.memmap(path, FILES[path.name], "r").reshape(-1, width)


def summary_arrays(best: Best, statistics: ChannelStatistics) -> dict[str, NDArray[Any]]:
    """What `read_summary` reads."""
    arrays = {f"best_{name}": array for name, array in best.arrays().items()}
    return arrays | {f"statistics_{name}": array for name, array in statistics.arrays().items()}


def read_summary(arrays: Mapping[str, NDArray[Any]]) -> tuple[Best, ChannelStatistics]:
    """Best pictures and channel statistics."""
    best, statistics = (
        {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
        for prefix in ("best_", "statistics_")
    )
    return Best.from_arrays(best), ChannelStatistics.from_arrays(statistics)
