"""What a layer sees all over an image set, as a map of made pictures (Carter et al. 2019)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Event, Image, Note, Preview, Progress, Scores, Table, Tensor
from convscope_sdk.image_sets.index import Index
from convscope_sdk.params import Params
from convscope_sdk.pictures import to_picture
from convscope_sdk.run import Run
from convscope_sdk.target import LayerRef
from convscope_sdk.technique import technique
from convscope_techniques.embedding.projection import principal_components, umap_layout
from convscope_techniques.embedding.tsne import Tsne
from convscope_techniques.indexed import indexed
from convscope_techniques.synthesis.middle import middle_layer
from convscope_techniques.units.visualized import visualized

__all__ = ["ActivationAtlasParams", "activation_atlas"]

_MOST_POSITIONS = 64
_COMPONENTS = 50
_OUTLIERS = 1  # percent at either side of each axis that are moved to the border
_RIDGE = 1e-3  # of the mean variance, so that few activations of many channels can be whitened
_PAPER = 255

Floats = NDArray[np.floating[Any]]


class ActivationAtlasParams(Params):
    """Parameters of `activation_atlas`."""

    image_set: str = Field("samples", description="The image set whose activations are mapped.")
    layer: LayerRef | None = Field(None, description="A layer with positions; a middle one if absent.")
    samples: int = Field(2000, ge=16, le=1_000_000, description="At most so many activations, at random positions.")
    method: Literal["tsne", "umap", "pca"] = Field("tsne", description="How they are laid out; the paper has `umap`.")
    cells: int = Field(8, ge=2, le=100, description="Cells along an edge of the map.")
    least: int = Field(2, ge=1, le=10_000, description="Cells with fewer activations stay empty.")
    whiten: bool = Field(True, description="Divide directions by the activations' covariance, as the paper does.")
    cosine_power: float = Field(4.0, ge=0, le=16, description="How much more the angle counts than the length.")
    steps: int = Field(128, ge=1, le=100_000, description="Steps of each cell's feature visualisation.")
    size: int = Field(80, ge=16, le=512, description="Edge of each cell's picture in pixels.")
    label: str | None = Field(None, description="Label column of the set; its first where absent.")


@technique(
    "activation_atlas",
    needs={"image_set", "gradients", "spatial_layer"},
    cites="Carter et al. 2019, doi:10.23915/distill.00015",
    stall_seconds=900,
    resumable=True,
)
def activation_atlas(run: Run[ActivationAtlasParams]) -> Iterator[Event]:
    """A map of what a layer sees: activations of an image set laid out, and a picture made for each neighbourhood.

    Vectors at random positions of every picture are laid out in the plane and cut into cells; each cell shows what
    `feature_visualization` makes for its mean vector, one after the other. Picture `activation_atlas`, white where too
    few activations are. Table `cells` has the count of each cell, and the commonest label of the pictures that its
    activations are of; tensors `directions` (cells, C) and `layout` (n, 2).
    """
    params = run.params
    layer = run.network.layer(params.layer or middle_layer(run.network))
    if not layer.is_spatial:
        text = f"{layer.name!r} has no positions: take {middle_layer(run.network)!r}, or another layer of maps"
        raise NotApplicable(text)
    image_set = run.image_set(params.image_set)
    image_set.labels(params.label)
    positions = min(max(1, params.samples // len(image_set)), _MOST_POSITIONS)
    painting = params.cells**2 * params.steps
    expected = _layout_steps(params, min(params.samples, positions * len(image_set)))
    index = yield from indexed(run, image_set, [layer.name], positions=positions, further_steps=expected + painting)
    atlas = _Atlas.of(run, index, layer.name)
    done = len(image_set) + _layout_steps(params, len(atlas.vectors))
    total = done + painting
    layout = yield from atlas.lay_out(run, done=len(image_set), total=total)
    cells = atlas.cells(layout, params.cells, params.least)
    yield Note(f"{len(atlas.vectors)} activations of {layer.name} in {len(cells)} of {params.cells**2} cells")
    pictures = yield from _made(run, atlas, cells, done=done, total=total)
    yield Progress(total, total)
    yield Image("activation_atlas", pictures, caption=f"what {layer.name} sees over {image_set.name}")
    yield Tensor("layout", layout, caption="places of the activations")
    yield Tensor("directions", np.stack([cell.mean for cell in cells]), caption="mean vector of each cell")
    yield Table("cells", [cell.row(index.labels(params.label), atlas.rows) for cell in cells])
    filled = len(cells) / params.cells**2
    yield Scores({"activations": float(len(atlas.vectors)), "cells": float(len(cells)), "filled": filled})


@dataclass(frozen=True, slots=True)
class _Cell:
    """A neighbourhood: its row and column, the activations in it, and their mean."""

    down: int
    across: int
    members: NDArray[np.intp]
    mean: NDArray[np.float32]

    def row(self, labels: list[str], rows: NDArray[np.intp]) -> dict[str, Any]:
        found = {"row": self.down, "column": self.across, "count": len(self.members)}
        if not labels:
            return found
        label, count = Counter(labels[row] for row in rows[self.members].tolist()).most_common(1)[0]
        return {**found, "label": label, "share": count / len(self.members)}


@dataclass(frozen=True, slots=True)
class _Atlas:
    """Activations of a layer: vectors (n, C), the row of the index each is of, and what directions are divided by."""

    layer: str
    vectors: NDArray[np.float32]
    rows: NDArray[np.intp]
    whitening: NDArray[np.float64]

    @classmethod
    def of(cls, run: Run[ActivationAtlasParams], index: Index, layer: str) -> _Atlas:
        stored, _ = index.vectors(layer)
        count, positions, channels = stored.shape
        chosen = np.arange(count * positions)
        if len(chosen) > run.params.samples:
            chosen = np.sort(run.rng.choice(chosen, run.params.samples, replace=False))
        vectors = np.array(stored.reshape(-1, channels)[chosen], np.float32)
        return cls(layer, vectors, chosen // positions, _whitening(vectors) if run.params.whiten else np.eye(channels))

    def lay_out(self, run: Run[ActivationAtlasParams], *, done: int, total: int) -> Generator[Event, None, Floats]:
        """(n, 2). A layout by t-SNE stays in a state: the cells need it."""
        reduced = principal_components(self.vectors, _COMPONENTS, run.seed).coordinates
        plane = np.zeros((len(reduced), 2), np.float32)
        plane[:, : reduced.shape[1]] = reduced[:, :2]
        if run.params.method == "pca" or not np.ptp(reduced, axis=0).any():
            return plane
        if run.params.method == "umap":
            return umap_layout(reduced, neighbors=min(15, len(reduced) - 1), min_dist=0.1, seed=run.seed)
        layout = Tsne(Tsne.perplexity_for(len(reduced), None), _layout_steps(run.params, len(reduced)), seed=run.seed)
        forming = layout.begin(reduced)
        state, frames = run.state("t-SNE", forming=forming), forming.run()
        while True:
            try:
                frame = next(frames)
            except StopIteration as end:
                last: Floats = end.value.layout
                return last
            yield Progress(done + frame.step, total, {"kl_divergence": frame.kl})
            yield Preview(_dots(frame.layout), caption=f"activations laid out, {frame.step} steps")
            yield state

    def cells(self, layout: Floats, edge: int, least: int) -> list[_Cell]:
        """Those with enough in them, row by row; the fullest where none has."""
        low, high = np.percentile(layout, [_OUTLIERS, 100 - _OUTLIERS], axis=0)
        unit = (layout - low) / np.where(high > low, high - low, 1)
        across, down = np.clip((unit * edge).astype(np.intp), 0, edge - 1).T
        numbers = down * edge + across
        counts = np.bincount(numbers, minlength=edge * edge)
        return [
            _Cell(int(number // edge), int(number % edge), members, self.vectors[members].mean(0))
            for number in np.flatnonzero(counts >= min(least, counts.max()))
            if len(members := np.flatnonzero(numbers == number))
        ]

    def direction(self, cell: _Cell) -> tuple[float, ...]:
        """Of a cell's picture, of length 1."""
        vector = self.whitening @ cell.mean
        return tuple((vector / (np.linalg.norm(vector) or 1.0)).tolist())


def _made(
    run: Run[ActivationAtlasParams], atlas: _Atlas, cells: list[_Cell], *, done: int, total: int
) -> Generator[Event, None, NDArray[np.uint8]]:
    """(3, H, W) the map; shown after every cell."""
    params, size = run.params, run.params.size
    state = run.state("map", made=0, sheet=np.full((3, params.cells * size, params.cells * size), _PAPER, np.uint8))
    sheet: NDArray[np.uint8] = state.sheet
    while state.made < len(cells):
        cell = cells[state.made]
        made = yield from visualized(
            run, done=done + state.made * params.steps, total=total, previews=False, layer=atlas.layer,
            direction=atlas.direction(cell), cosine_power=params.cosine_power, steps=params.steps, size=size,
        )  # fmt: skip
        down, across = cell.down * size, cell.across * size
        sheet[:, down : down + size, across : across + size] = np.asarray(to_picture(made)).transpose(2, 0, 1)
        state.made += 1
        yield Preview(sheet.copy(), caption=f"cell {state.made} of {len(cells)}")
    return sheet


def _layout_steps(params: ActivationAtlasParams, count: int) -> int:
    """Steps in which so many activations are laid out, as far as they are told."""
    return Tsne.steps_for(count) if params.method == "tsne" else 0


def _whitening(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The inverse of the activations' second moments, (C, C)."""
    wide = vectors.astype(np.float64)
    moments = wide.T @ wide / len(wide)
    ridge = _RIDGE * (np.trace(moments) / len(moments) or 1.0)
    return np.asarray(np.linalg.inv(moments + ridge * np.eye(len(moments))), np.float64)


def _dots(layout: Floats) -> NDArray[np.uint8]:
    edge = 480
    picture = np.full((edge, edge), _PAPER, np.uint8)
    span = np.ptp(layout, axis=0).max() or 1.0
    across, down = ((layout - layout.min(0)) / span * (edge - 3)).astype(int).T
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        picture[down + dy, across + dx] = 60
    return picture
