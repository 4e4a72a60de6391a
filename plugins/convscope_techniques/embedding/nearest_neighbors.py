"""Which pictures of a set are nearest to one, in pixels and in features (Krizhevsky, Sutskever & Hinton 2012)."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from convscope_sdk.errors import FieldViolation, InvalidParams, UnknownName
from convscope_sdk.events import Event, ImageGrid, Note, Progress, Scores, Table, Tensor
from convscope_sdk.image_sets.index import Index
from convscope_sdk.image_sets.kept import Kept
from convscope_sdk.image_sets.pixel_space import pixel_layer, pixel_points
from convscope_sdk.image_sets.units import responses
from convscope_sdk.params import ImageParams
from convscope_sdk.run import Run
from convscope_sdk.target import LayerRef
from convscope_sdk.technique import technique
from convscope_techniques.embedding.cells import EXACT_UP_TO, Cells
from convscope_techniques.embedding.distances import Metric, Nearest, nearest, neighbors_in
from convscope_techniques.embedding.quality import precision
from convscope_techniques.indexed import indexed

__all__ = ["NearestNeighborsParams", "nearest_neighbors"]

_JUDGED = 500


class NearestNeighborsParams(ImageParams):
    """Parameters of `nearest_neighbors`."""

    image_set: str = Field("samples", description="The image set whose pictures are neighbours.")
    member: str | None = Field(
        None, description="A picture of the set by name, in place of an image; its first where there is neither."
    )
    layer: LayerRef = Field("penultimate", description="Whose output, averaged over positions, is the feature space.")
    metric: Metric = Field("l2", description="Distance in both spaces: `l2`, or `cosine`, the angle alone.")
    k: int = Field(6, ge=1, le=100, description="How many neighbours.")
    label: str | None = Field(None, description="Label column of the set; its first where absent.")
    pixel_edge: int = Field(32, ge=1, le=256, description="Pixels along an edge in pixel space, by averaging.")
    search: Literal["auto", "exact", "approximate"] = Field(
        "auto",
        description=f"`exact` compares with every picture, `approximate` with likely ones; `auto` is exact for up to "
        f"{EXACT_UP_TO:,} pictures.",
    )


@technique(
    "nearest_neighbors",
    needs={"image_set"},
    cites="Krizhevsky, Sutskever & Hinton 2012",
    stall_seconds=600,
    resumable=True,
)
def nearest_neighbors(run: Run[NearestNeighborsParams]) -> Iterator[Event]:
    """The pictures of a set nearest to an image or to one of them, in pixel space and in feature space.

    Picture `nearest_neighbors` has two strips, the query first in each: above by pixels, below by features. Tables
    `pixels`, in steps of 8 bits, and `features` have name, label and distance of each neighbour. The report has the
    precision at k of both spaces, the share of neighbours that have their query's label, over at most 500 pictures of
    the set. Of equally near ones the earlier comes first; a member is none of its own. Neighbours are exact, or, where
    the search is approximate, with their recall in the report: the share of the exact ones that it finds.
    """
    params = run.params
    image_set = run.image_set(params.image_set, fit=params.fit, size=params.size)
    image_set.labels(params.label)
    approximate = params.search == "approximate" or (params.search == "auto" and len(image_set) > EXACT_UP_TO)
    further = 1 + (2 * Cells.steps_for(len(image_set)) if approximate else 0)
    pixels = pixel_layer(params.pixel_edge)
    index = yield from indexed(run, image_set, [params.layer, pixels], further_steps=further)
    query = _Query.of(run, index)
    if query.note:
        yield Note(query.note)
    k = _checked(params, len(index) - (query.row is not None))
    done, total = len(image_set), len(image_set) + further
    found: dict[str, Nearest] = {}
    for name, layer, asked in (("pixels", pixels, query.points), ("features", params.layer, query.features)):
        space = _Space(name, index.features(layer), index.lengths(layer), index.kept(layer), params.metric)
        if approximate and len(index) > 1:
            found[name] = yield from space.likely(asked, k, query.row, done=done, total=total)
            done += Cells.steps_for(len(image_set))
        else:
            found[name] = space.exact(asked, k, query.row)
    yield Progress(total, total)
    yield from _results(index, query, found, params)
    yield from _precision(run, index, {"pixels": pixels, "features": params.layer}, k)


@dataclass(frozen=True, slots=True)
class _Query:
    """Whose neighbours are looked for: pixels (1, 3, H, W), its points in both spaces, its row where it is of the set.

    Points are (C,) of each space's C.
    """

    pixels: torch.Tensor
    points: NDArray[np.float32]
    features: NDArray[np.float32]
    row: int | None
    note: str = ""

    @classmethod
    def of(cls, run: Run[NearestNeighborsParams], index: Index) -> _Query:
        params = run.params
        if len(run.image):
            if params.member is not None:
                text = "give an image or a member, not both"
                raise InvalidParams(text, violations=[FieldViolation("params.member", text)])
            with torch.no_grad():
                output = run.network.activations(run.image, params.layer)[params.layer]
            points = pixel_points(run.image, params.pixel_edge)[0].cpu().numpy()
            return cls(run.image, points, responses(output, params.layer).means()[0], None)
        names = list(index.names)
        if params.member is not None and params.member not in names:
            raise UnknownName.among("picture", params.member, names, hint=f"of image set {index.image_set.name!r}")
        row = 0 if params.member is None else names.index(params.member)
        note = f"neighbours of {names[row]!r}" + ("" if params.member else ", the first picture of the set")
        layers = (pixel_layer(params.pixel_edge), params.layer)
        points, features = (np.array(index.features(layer)[row]) for layer in layers)
        return cls(index.pixels([row]), points, features, row, note)


@dataclass(frozen=True, slots=True)
class _Space:
    """Points (n, C) that are near to each other or not, their squared lengths, and what is kept of them."""

    name: str
    points: NDArray[np.float32]
    lengths: NDArray[np.float32]
    kept: Kept
    metric: Metric

    def exact(self, query: NDArray[np.float32], k: int, row: int | None) -> Nearest:
        """The nearest of all."""
        but = None if row is None else np.array([row])
        return nearest(query[None], self.points, k, self.metric, but=but, lengths=self.lengths)

    def likely(
        self, query: NDArray[np.float32], k: int, row: int | None, *, done: int, total: int
    ) -> Generator[Event, None, Nearest]:
        """The nearest of those that are likely, and how many of the nearest of all that finds."""
        cells = yield from self._cells(done=done, total=total)
        recall = cells.recall(k)
        yield Scores({f"recall_at_{k}_{self.name}": recall})
        yield Note(
            f"approximate search in {self.name}: {recall:.1%} of the {k} nearest are found, by {len(cells.hits)} "
            "pictures that were tried; search=exact finds all"
        )
        return cells.nearest(query, self.points, k, self.metric, but=row, lengths=self.lengths)

    def _cells(self, *, done: int, total: int) -> Generator[Event, None, Cells]:
        making = Cells.steps(self.points, self.metric, self.kept, lengths=self.lengths)
        while True:
            try:
                yield Progress(done + next(making), total)
            except StopIteration as end:
                made: Cells = end.value
                return made


def _checked(params: NearestNeighborsParams, others: int) -> int:
    if others < 1:
        text = "the set has one picture, which has no neighbour; give another image, or a larger set"
        raise InvalidParams(text, violations=[FieldViolation("params.image_set", text)])
    if params.k > others and "k" in params.model_fields_set:
        text = f"{params.k} neighbours are too many: there are {others} pictures to choose from; take k={others}"
        raise InvalidParams(text, violations=[FieldViolation("params.k", text)])
    return min(params.k, others)


def _results(index: Index, query: _Query, found: dict[str, Nearest], params: NearestNeighborsParams) -> Iterator[Event]:
    labels = index.labels(params.label)
    own = labels[query.row] if query.row is not None and labels else ""
    tiles: list[Any] = []
    captions: list[str] = []
    for space, near in found.items():
        rows = near.indices[0].tolist()
        tiles += [query.pixels[0], *index.pixels(rows)]
        captions += [f"{space}: {own or 'query'}", *_captions(rows, near, labels)]
        table = _table(index, rows, near, labels)
        yield Table(space, table, caption=f"nearest in {space} by {params.metric}")
        if own:
            yield Scores({f"hits_{space}": float(np.mean([labels[row] == own for row in rows]))})
    yield Tensor("distances", np.stack([near.distances[0] for near in found.values()]), caption=", ".join(found))
    caption = f"nearest by pixels, {params.pixel_edge} on edge, and by {params.layer}; {params.metric}"
    yield ImageGrid("nearest_neighbors", tiles, labels=captions, columns=len(tiles) // len(found), caption=caption)


def _captions(rows: Sequence[int], near: Nearest, labels: Sequence[str]) -> list[str]:
    distances = near.distances[0].tolist()
    return [f"{labels[row] if labels else ''} {distance:.3g}" for row, distance in zip(rows, distances, strict=True)]


def _table(index: Index, rows: Sequence[int], near: Nearest, labels: Sequence[str]) -> list[dict[str, Any]]:
    names, found = index.names, []
    for rank, (row, distance) in enumerate(zip(rows, near.distances[0].tolist(), strict=True), 1):
        entry = {"rank": rank, "name": names[row], "distance": distance}
        found.append({**entry, "label": labels[row]} if labels else entry)
    return found


def _precision(run: Run[NearestNeighborsParams], index: Index, layers: dict[str, str], k: int) -> Iterator[Event]:
    """How often neighbours share a label, in each space, every picture asked about the others."""
    labels = index.labels(run.params.label)
    labelled = np.flatnonzero([bool(label) for label in labels])
    k = min(k, len(index) - 1)
    if not len(labelled) or k < 1:
        yield Note("the set has no labels, so no precision")
        return
    if len(labelled) > _JUDGED:
        # Whatever the seed, so that the next question finds the answer.
        labelled = np.sort(np.random.default_rng(0).choice(labelled, _JUDGED, replace=False))
        yield Note(f"precision over {_JUDGED} pictures of the set, taken at random")
    wanted = [labels[row] for row in labelled]
    for name, layer in layers.items():
        close = _neighbors(index, layer, labelled, k, run.params.metric)
        yield Scores({f"precision_at_{k}_{name}": precision(close, labels, wanted)})


def _neighbors(index: Index, layer: str, rows: NDArray[np.intp], k: int, metric: Metric) -> NDArray[np.intp]:
    """(Q, k) the exact neighbours of rows; found once for each index."""
    kept, digest = index.kept(layer), hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16]
    name = f"neighbors-{metric}-{k}-{digest}"
    if (found := kept.find(name)) is None:
        close = neighbors_in(index.features(layer), k, metric, of=rows, lengths=index.lengths(layer))
        found = kept.keep(name, {"rows": close})
    return found["rows"]
