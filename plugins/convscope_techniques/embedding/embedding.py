"""An image set laid out in the plane by what a layer makes of it (van der Maaten & Hinton 2008; Karpathy 2014)."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from convscope_sdk.events import Event, Image, Note, Preview, Progress, Scores, Table, Tensor, Text
from convscope_sdk.image_sets.index import Index
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.target import LayerRef
from convscope_sdk.technique import technique
from convscope_techniques.embedding.distances import Metric, unit_rows
from convscope_techniques.embedding.page import page
from convscope_techniques.embedding.projection import principal_components, umap_layout
from convscope_techniques.embedding.quality import accuracy, continuity, trustworthiness
from convscope_techniques.embedding.regular_grid import EXACT_UP_TO, RegularGrid, place
from convscope_techniques.embedding.thumbnails import BATCH, Pictures, grid_of, scatter_of, thumbnails
from convscope_techniques.embedding.tsne import Tsne
from convscope_techniques.indexed import indexed

__all__ = ["EmbeddingParams", "embedding"]

_EDGES = ((256, 128), (4096, 64))  # of thumbnails, for sets of up to so many pictures
_SMALLEST_EDGE = 32
_PREVIEW = 640
_JUDGED = 2000

Layout = NDArray[np.floating[Any]]


class EmbeddingParams(Params):
    """Parameters of `embedding`."""

    image_set: str = Field("samples", description="The image set that is laid out.")
    layer: LayerRef = Field("penultimate", description="Whose output, averaged over positions, the layout is of.")
    method: Literal["tsne", "pca", "umap"] = Field("tsne", description="How features become two numbers.")
    metric: Metric = Field("l2", description="Distance between features: `l2`, or `cosine`, the angle alone.")
    components: int = Field(50, ge=2, le=4096, description="Principal components that t-SNE and UMAP are given.")
    perplexity: float | None = Field(
        None, ge=1, le=1000, description="Of t-SNE: neighbours that count; 30 where absent, less for few images."
    )
    steps: int | None = Field(
        None,
        ge=250,
        le=20_000,
        description="Steps of t-SNE; where absent 1000, and 250 faster ones beyond 2000 images.",
    )
    neighbors: int = Field(15, ge=2, le=1000, description="Of UMAP: neighbours of each image.")
    min_dist: float = Field(0.1, ge=0, le=1, description="Of UMAP: how near to each other images may lie.")
    label: str | None = Field(None, description="Label column of the set; its first where absent.")
    k: int = Field(5, ge=1, le=100, description="Neighbours that the layout is judged by.")
    size: int = Field(2048, ge=64, le=8192, description="Edge of the scatter in pixels.")
    preview_every: int = Field(50, ge=1, le=20_000, description="Show t-SNE every so many steps.")


@technique(
    "embedding",
    needs={"image_set"},
    cites="van der Maaten & Hinton 2008; Karpathy 2014; McInnes et al. 2018, arXiv:1802.03426",
    stall_seconds=900,
    resumable=True,
    steers={"steps", "preview_every"},
)
def embedding(run: Run[EmbeddingParams]) -> Iterator[Event]:
    """An image set laid out so that pictures which a layer takes for alike lie together.

    Pictures `scatter`, at their places, and `grid`, each in a cell of its own, as near to its place as can be; page
    `embedding`, to pan and zoom in. Table `coordinates` has the name, label, place and cell of each. The report has
    trustworthiness and continuity (1: the neighbours are the same), the accuracy of the k nearest neighbours' label
    before and after, the variance that two principal components explain, the divergence that t-SNE reached, and what
    the grid costs.
    """
    params = run.params
    image_set = run.image_set(params.image_set)
    image_set.labels(params.label)  # whose refusal costs nothing yet
    steps = params.steps or Tsne.steps_for(len(image_set))
    further = -(-len(image_set) // BATCH) + steps
    index = yield from indexed(run, image_set, [params.layer], further_steps=further)
    view = _View.of(run, index, steps)
    total = len(image_set) + further
    edge = next((edge for most, edge in _EDGES if len(index) <= most), _SMALLEST_EDGE)
    pictures = yield from thumbnails(index, params.layer, edge, done=len(image_set), total=total)
    layout = yield from view.lay_out(run, pictures, done=total - steps, total=total)
    grid = yield from _placed(layout, pictures)
    yield Progress(total, total)
    yield Image("scatter", scatter_of(layout, pictures, params.size), caption=f"{view.name}, pictures at their places")
    yield Image("grid", grid_of(grid.images(), pictures), caption=f"{view.name}, each picture in a cell of its own")
    yield Tensor("coordinates", layout, caption=view.name)
    yield Table("coordinates", _rows(index, view.labels, layout, grid), caption=f"{view.name}, and cells of the grid")
    pictured = page(view.name, layout, grid, pictures, names=index.names, labels=view.labels)
    yield Text("embedding", pictured, caption=f"{view.name}, to pan and zoom in", media_type="text/html")
    yield from view.judge(layout)
    yield from _grid_report(grid)


@dataclass(frozen=True, slots=True)
class _View:
    """Features of an image set, and how they are to be looked at."""

    params: EmbeddingParams
    features: NDArray[np.float32]
    labels: list[str]
    seed: int
    steps: int

    @classmethod
    def of(cls, run: Run[EmbeddingParams], index: Index, steps: int) -> _View:
        params = run.params
        features = np.array(index.features(params.layer), np.float32)
        labels = index.labels(params.label)
        view = cls(params, features, labels if any(labels) else [], run.seed, steps)
        if params.method == "tsne" and not view.all_alike:
            Tsne.perplexity_for(len(features), params.perplexity)
        return view

    @property
    def name(self) -> str:
        title = {"tsne": "t-SNE", "pca": "principal components", "umap": "UMAP"}[self.params.method]
        return f"{title} of {self.params.layer}"

    @property
    def all_alike(self) -> bool:
        return not np.ptp(self.features, axis=0).any()

    @property
    def compared(self) -> NDArray[np.float32]:
        """Features whose L2 distances are those asked for, up to a factor."""
        if self.params.metric == "l2":
            return self.features
        return unit_rows(self.features).astype(np.float32)

    def lay_out(
        self, run: Run[EmbeddingParams], pictures: Pictures, *, done: int, total: int
    ) -> Generator[Event, None, Layout]:
        """(n, 2), with progress and previews while t-SNE forms."""
        params, n = self.params, len(self.features)
        reduced = principal_components(self.compared, params.components, self.seed)
        yield Scores({"images": float(n), "explained_variance": float(reduced.explained[:2].sum())})
        plane = np.zeros((n, 2), np.float32)
        plane[:, : reduced.coordinates.shape[1]] = reduced.coordinates[:, :2]
        if self.all_alike:
            yield Note(f"all {n} images have the same features at {params.layer}: every layout puts them at one point")
            return plane
        if params.method == "pca":
            return plane
        if params.method == "umap":
            return umap_layout(
                reduced.coordinates, neighbors=params.neighbors, min_dist=params.min_dist, seed=self.seed
            )
        return (yield from self._tsne(run, reduced.coordinates, pictures, done=done, total=total))

    def _tsne(
        self,
        run: Run[EmbeddingParams],
        features: NDArray[np.float32],
        pictures: Pictures,
        *,
        done: int,
        total: int,
    ) -> Generator[Event, None, Layout]:
        params = self.params
        perplexity = Tsne.perplexity_for(len(features), params.perplexity)
        if params.perplexity is None and perplexity < 30:  # noqa: PLR2004 - the default
            yield Note(f"perplexity {perplexity:.3g}, (n - 1) / 3: 30 is too large for {len(features)} images")
        forming = Tsne(perplexity, self.steps, params.preview_every, self.seed).begin(features)
        state, frames = run.state("t-SNE", forming=forming), forming.run()
        while True:
            try:
                frame = next(frames)
            except StopIteration as end:
                frame = end.value
                break
            yield Progress(done + frame.step, total, {"kl_divergence": frame.kl})
            yield Preview(scatter_of(frame.layout, pictures, _PREVIEW), caption=f"t-SNE after {frame.step} steps")
            yield state
        yield Scores({"kl_divergence": frame.kl, "perplexity": perplexity})
        last: Layout = frame.layout
        return last

    def judge(self, layout: Layout) -> Iterator[Event]:
        """Scores of the layout, as far as there are enough images."""
        n, k, metric = len(self.features), self.params.k, self.params.metric
        if self.all_alike or n < 4:  # noqa: PLR2004 - nobody has neighbours to lose
            return
        if k >= n / 2:
            k = max(1, math.ceil(n / 2) - 1)
            yield Note(f"judged by {k} neighbours: k is less than half of the {n} images")
        of = np.random.default_rng(self.seed).choice(n, min(n, _JUDGED), replace=False)
        if n > _JUDGED:
            yield Note(f"judged by the neighbours of {_JUDGED:,} images, taken at random")
        values = {
            "trustworthiness": trustworthiness(self.features, layout, k, metric, of=of),
            "continuity": continuity(self.features, layout, k, metric, of=of),
        }
        if self.labels:
            values["knn_accuracy"] = accuracy(layout, self.labels, k, of=of)
            values["knn_accuracy_features"] = accuracy(self.features, self.labels, k, metric, of=of)
        yield Scores(values)


def _placed(layout: Layout, pictures: Pictures) -> Generator[Event, None, RegularGrid]:
    rounds = place(layout)
    while True:
        try:
            grid = next(rounds)
        except StopIteration as end:
            made: RegularGrid = end.value
            return made
        yield Preview(grid_of(grid.images(), pictures), caption=f"grid, squared distance {grid.cost:.4g}")


def _rows(index: Index, labels: list[str], layout: Layout, grid: RegularGrid) -> list[dict[str, Any]]:
    rows = []
    for row, (name, (x, y), cell) in enumerate(zip(index.names, layout.tolist(), grid.cells.tolist(), strict=True)):
        down, across = divmod(cell, grid.columns)
        place_of = {"name": name, "x": x, "y": y, "row": down, "column": across}
        rows.append({**place_of, "label": labels[row]} if labels else place_of)
    return rows


def _grid_report(grid: RegularGrid) -> Iterator[Event]:
    yield Scores({"grid_cost": grid.cost, "grid_exact": float(grid.exact)})
    if not grid.exact:
        yield Note(
            f"grid of more than {EXACT_UP_TO:,} images: halved by medians, then 16 by 16 cells at a time assigned at "
            "least cost; typically within 2 % of the best"
        )
