"""What laying an image set out costs, against the libraries that people use, and a second look at a unit's patches."""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import skimage.data
from benchmarks.inprocess import default_network
from benchmarks.result import Measure, Result, median
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE, trustworthiness

from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.store import IndexStore
from convscope_sdk.network import Network
from convscope_sdk.technique import Technique
from convscope_techniques.embedding.nearest_neighbors import nearest_neighbors
from convscope_techniques.embedding.projection import principal_components
from convscope_techniques.embedding.regular_grid import place
from convscope_techniques.embedding.tsne import Tsne
from convscope_techniques.units.maximal_patches import maximal_patches

TSNE_TIMES, GRID_TIMES, GRID_COST, SECOND_QUERY = 5.0, 5.0, 1.02, 0.1
POINTS, CELLS, PICTURES = 10_000, 4096, 64

T = TypeVar("T")


def run(*, quick: bool = False) -> Result:
    """t-SNE and the grid against scikit-learn and SciPy in processor time; the second question to an index.

    t-SNE is tried on three kinds of points: clusters and patches of photographs, which its schedule was chosen on, and
    written digits, which it was not.
    """
    importlib.import_module("openTSNE")  # whose loading is nobody's layout
    count = 2500 if quick else POINTS
    measures: list[Measure] = []
    details: dict[str, float] = {}
    for name, points in (("clusters", _clusters(count)), ("patches", _patches(count)), ("digits", _digits(count))):
        theirs, peer = _timed(lambda points=points: TSNE(perplexity=30, random_state=0).fit_transform(points))
        ours, layout = _timed(
            lambda points=points: _last(Tsne(30, Tsne.steps_for(len(points))).begin(points).run()).layout
        )
        trusted = [trustworthiness(points, made, n_neighbors=5) for made in (layout, peer)]
        measures += [
            Measure(f"t-SNE of {name}: scikit-learn / ours", theirs / ours, TSNE_TIMES, at_least=True),
            Measure(f"trustworthiness, {name}: ours less theirs", trusted[0] - trusted[1], 0, "", at_least=True),
        ]
        details |= {f"{name}_theirs": theirs, f"{name}_ours": ours, f"{name}_trust_ours": trusted[0]}
    patches, neighbors = _second_queries(3 if quick else 9)
    best, ideal, placed, cost = _grid(1156 if quick else CELLS)
    measures += [
        Measure("grid: linear_sum_assignment / ours", best / placed, GRID_TIMES, at_least=True),
        Measure("cost of the grid / the least", cost / ideal, GRID_COST),
        Measure("maximal patches of an index that is there", patches, SECOND_QUERY, "s"),
        Measure("neighbours in an index that is there", neighbors, SECOND_QUERY, "s"),
    ]
    return Result("layouts", tuple(measures), details | {"linear_sum_assignment": best, "grid": placed})


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Processor seconds, which other processes of this machine do not change, and what was made."""
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def _last(steps: Generator[Any, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value


def _clusters(count: int) -> NDArray[np.float32]:
    """Fifty classes in sixteen dimensions, bent into 50."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.normal(size=(50, 16))
    inner = centres[rng.integers(0, 50, count)] + rng.normal(size=(count, 16))
    bent = np.tanh(inner @ rng.normal(size=(16, 50)) / 4) + 0.1 * rng.normal(size=(count, 50))
    return bent.astype(np.float32)


def _patches(count: int) -> NDArray[np.float32]:
    """Squares of 16 pixels out of photographs, by their first 50 principal components."""
    rng = np.random.default_rng(7)
    colours = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()]
    greys = [skimage.data.brick(), skimage.data.grass(), skimage.data.gravel()]
    photographs = [*colours, *(np.repeat(grey[..., None], 3, axis=2) for grey in greys)]
    squares = np.empty((count, 16 * 16 * 3), np.float32)
    for square in squares:
        photograph = photographs[rng.integers(len(photographs))]
        top, left = (int(rng.integers(edge - 16)) for edge in photograph.shape[:2])
        square[:] = photograph[top : top + 16, left : left + 16].ravel() / 255
    return principal_components(squares, 50).coordinates


def _digits(count: int) -> NDArray[np.float32]:
    """Digits of 8 by 8 pixels, a little brighter or darker and noisy, so that there are enough, by 50 components."""
    rng = np.random.default_rng(3)
    digits = load_digits().data[rng.integers(0, 1797, count)] * rng.uniform(0.8, 1.2, (count, 1))
    return principal_components(digits + 2 * rng.normal(size=digits.shape), 50).coordinates


def _grid(count: int) -> tuple[float, float, float, float]:
    """Seconds and cost of SciPy's assignment of clustered points to a square of cells, and of ours."""
    rng = np.random.default_rng(1)
    layout = rng.normal(size=(30, 2))[rng.integers(0, 30, count)] + 0.12 * rng.normal(size=(count, 2))
    edge = round(count**0.5)
    scaled = (layout - layout.min(0)) / np.ptp(layout, axis=0) * (edge - 1)
    cells = np.stack(np.meshgrid(np.arange(edge), np.arange(edge)), axis=-1).reshape(-1, 2)
    costs = ((scaled[:, None] - cells[None]) ** 2).sum(-1)
    best, assigned = _timed(lambda: linear_sum_assignment(costs))
    placed, grid = _timed(lambda: _last(place(layout)))
    return best, float(costs[assigned].sum()), placed, grid.cost


def _second_queries(rounds: int) -> tuple[float, float]:
    """Median wall seconds of whole runs: another channel of a layer in the index, and another picture's neighbours."""
    network = default_network()
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        rng = np.random.default_rng(2)
        for number in range(PICTURES):
            Image.fromarray(rng.integers(0, 256, (240, 240, 3), np.uint8)).save(pictures / f"{number:03d}.jpg")
        sets = ImageSets({"pictures": pictures}, store=IndexStore(Path(folder) / "index"))
        patches, neighbors = [], []
        for number in range(rounds + 1):
            patches.append(_second(maximal_patches, network, sets, target=f"blocks.2:{number}"))
            neighbors.append(_second(nearest_neighbors, network, sets, member=f"{number:03d}.jpg"))
    return median(patches[1:]), median(neighbors[1:])


def _second(technique: Technique[Any], network: Network, sets: ImageSets, **params: Any) -> float:
    began = time.perf_counter()
    list(technique.run(network, image_sets=sets, image_set="pictures", **params))
    return time.perf_counter() - began
