"""What an index of an image set costs to make, in time and memory, and how fast a neighbour is found in it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from benchmarks.inprocess import default_network
from benchmarks.result import Measure, Result, median
from PIL import Image

from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_sdk.image_sets.kept import Kept
from convscope_sdk.image_sets.spec import ImageSetEntry, ImageSetSpec
from convscope_sdk.image_sets.store import IndexStore
from convscope_sdk.images import fit_image, open_image, to_tensor
from convscope_sdk.network import Network
from convscope_techniques.embedding.cells import Cells
from convscope_techniques.embedding.distances import nearest

THROUGHPUT, GROWTH_MB, NEIGHBORS, LIKELY, RECALL = 0.9, 200.0, 5.0, 1.0, 0.95
LAYERS = ("penultimate",)
BATCH = 8
FEATURES, COLUMNS, K = 100_000, 1280, 6

T = TypeVar("T")


def run(*, quick: bool = False) -> Result:
    """Indexing against a bare loop; memory at 1,000 and 100,000 pictures; a query against scikit-learn's."""
    bare, indexed = _throughput(default_network(), 64 if quick else 256, 2 if quick else 3)
    small, large = (_resident_mb(count) for count in ((200, 1000) if quick else (1_000, 100_000)))
    count = FEATURES // 10 if quick else FEATURES
    brute, ours, same = _neighbors(count, 5)
    exact, likely, recall = _likely(count, 20)
    measures = (
        Measure("pictures a second: index / bare loop", bare / indexed, THROUGHPUT, at_least=True),
        Measure("growth of memory from 1,000 to 100,000 pictures", large - small, GROWTH_MB, "MB"),
        Measure("neighbour query: scikit-learn's brute force / ours", brute / ours, NEIGHBORS, at_least=True),
        Measure("neighbours that differ from scikit-learn's", same, 0, ""),
        Measure("neighbour query: ours exactly / ours approximately", exact / likely, LIKELY, at_least=True),
        Measure("recall of the approximate one", recall, RECALL, "", at_least=True),
    )
    details = {"bare loop": bare, "index": indexed, "small_mb": small, "large_mb": large, "brute": brute, "ours": ours}
    return Result("image_sets", measures, details)


# Throughput


def _throughput(network: Network, count: int, rounds: int) -> tuple[float, float]:
    """Median seconds for the same JPEG files, decoded, fitted and looked at: by a loop, and into an index."""
    pictures = Pictures(count, edge=320)
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        _loop(network, pictures, count)
        middle = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            for _ in _opened(pictures, network, folder).index(LAYERS):
                pass
        times.append((middle - began, time.perf_counter() - middle))
    bare, indexed = zip(*times[1:], strict=True)
    return median(bare), median(indexed)


def _loop(network: Network, pictures: Pictures, count: int) -> Sequence[torch.Tensor]:
    found = []
    with torch.no_grad():
        for start in range(0, count, BATCH):
            opened = [open_image(pictures.read(number)).picture for number in range(start, start + BATCH)]
            fitted = [to_tensor(fit_image(picture, network.spec, fit="crop", size=None)) for picture in opened]
            found.append(network.activations(torch.cat(fitted), *LAYERS)["penultimate"])
    return found


class Pictures:
    """A source of as many synthetic JPEG files as asked for: sixteen different ones, each with a number of its own."""

    name = "synthetic"

    def __init__(self, count: int, edge: int) -> None:
        self._count = count
        self._files = [_jpeg(seed, edge) for seed in range(16)]

    def entries(self) -> list[ImageSetEntry]:
        """The one set."""
        return [ImageSetEntry("synthetic")]

    def read(self, number: int) -> bytes:
        """A file that no other number has."""
        # Behind the end of the picture decoders look at nothing.
        return self._files[number % len(self._files)] + number.to_bytes(8)

    def spec(self, name: str) -> ImageSetSpec | None:
        """The set, whatever it is called."""
        return ImageSetSpec(name, self.name, [f"{number:06d}" for number in range(self._count)], self.read)


def _jpeg(seed: int, edge: int) -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (edge // 8, edge // 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((edge, edge), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _opened(pictures: Pictures, network: Network, folder: str) -> ImageSet:
    return ImageSets(sources=[pictures], store=IndexStore(Path(folder))).open("synthetic", network)


# Memory


def _resident_mb(count: int) -> float:
    """The most memory that a process of its own had while it indexed that many pictures with a tiny network."""
    command = [sys.executable, "-m", "benchmarks.image_sets", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["peak_mb"])


def _peak_mb() -> float:
    """The most memory that this process has had. getrusage would count that of whoever started it, before the exec."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, "Linux says it"
    return int(found[1]) / 1024


def _index_many(count: int) -> None:
    """Index `count` pictures into 1,280 features each, and print the peak of resident memory."""
    from torch import nn

    from convscope_sdk.models import ModelSpec

    module = nn.Sequential(
        nn.Conv2d(3, COLUMNS, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(COLUMNS, 10)
    )
    network = Network(module, ModelSpec("wide", "benchmarks", lambda: module, input_size=32))
    with tempfile.TemporaryDirectory() as folder:
        image_set = _opened(Pictures(count, edge=32), network, folder)
        steps = image_set.index(LAYERS)
        for _ in steps:
            pass
    print(json.dumps({"peak_mb": _peak_mb()}))


# Neighbours


def _neighbors(count: int, rounds: int) -> tuple[float, float, int]:
    """Median seconds of a query each, and how many of all neighbours found differ."""
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    features = rng.random((count, COLUMNS), dtype=np.float32)
    lengths = np.einsum("ij,ij->i", features, features)
    peer = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(features)
    times, differing = [], 0
    for _ in range(rounds):
        query = rng.random((1, COLUMNS), dtype=np.float32)
        began = time.perf_counter()
        theirs = peer.kneighbors(query, return_distance=False)
        middle = time.perf_counter()
        ours = nearest(query, features, K, lengths=lengths).indices
        times.append((middle - began, time.perf_counter() - middle))
        differing += int((ours != theirs).sum())
    brute, own = zip(*times, strict=True)
    return median(brute), median(own), differing


def _likely(count: int, rounds: int) -> tuple[float, float, float]:
    """Median seconds of a query with all rows and with likely ones, and the share of neighbours that the latter finds.

    Rows lie around centres, as features of pictures do: of evenly spread ones nobody can say which are likely.
    """
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(300, COLUMNS)).astype(np.float32)
    features = rng.standard_normal((count, COLUMNS), np.float32)
    features += 0.5 * centers[rng.integers(0, len(centers), count)]
    lengths = np.einsum("ij,ij->i", features, features)
    with tempfile.TemporaryDirectory() as folder:
        cells = _last(Cells.steps(features, "l2", Kept(Path(folder)), lengths=lengths))
        times, shared = [], 0
        for row in rng.choice(count, rounds, replace=False).tolist():
            began = time.perf_counter()
            all_ = nearest(features[row][None], features, K, but=np.array([row]), lengths=lengths).indices
            middle = time.perf_counter()
            some = cells.nearest(features[row], features, K, "l2", but=row, lengths=lengths).indices
            times.append((middle - began, time.perf_counter() - middle))
            shared += len(np.intersect1d(all_, some))
    exact, likely = zip(*times, strict=True)
    return median(exact), median(likely), shared / (rounds * K)


def _last(steps: Generator[Any, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value


if __name__ == "__main__":
    _index_many(int(sys.argv[1]))
