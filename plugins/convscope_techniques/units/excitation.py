"""Where in an image set a unit is excited most."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Event, Progress
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_sdk.image_sets.index import Index
from convscope_sdk.run import Run
from convscope_sdk.target import Target
from convscope_techniques.indexed import indexed
from convscope_techniques.units.patch import Box, seen_by

__all__ = ["Excitation", "strongest"]

_BATCH = 16
_MAP_NDIM = 3


@dataclass(frozen=True, slots=True)
class Excitation:
    """The pictures that excite a unit most, strongest first, of equal ones the earlier first.

    Attributes:
        index: Of the set.
        target: The unit.
        values: What it answers.
        members: Rows of the index.
        positions: (row, column) of the value in the layer; None where it has no positions.
        pixels: (k, 3, H, W) the pictures as the network sees them.
        boxes: What the unit sees of each.
        answers: (n,) what it answers to each picture of the set, over a channel's positions the greatest.
        steps: Taken so far.
    """

    index: Index
    target: Target
    values: list[float]
    members: list[int]
    positions: list[tuple[int, int] | None]
    pixels: torch.Tensor
    boxes: list[Box]
    answers: NDArray[np.float32]
    steps: int

    @property
    def name(self) -> str:
        """The unit's, as it is written."""
        return str(self.target)

    def neuron(self, number: int) -> Target:
        """The unit at the place where it answered the most to one of the pictures."""
        position = self.positions[number]
        if position is None or self.target.position is not None:
            return self.target
        return Target.parse(f"{self.target.layer}:{self.target.channel}@{position[0]},{position[1]}")

    def patches(self) -> list[NDArray[np.float32]]:
        """What the unit sees of each picture, (3, h, w)."""
        pictures = self.pixels.cpu().numpy()
        return [box.crop(picture) for box, picture in zip(self.boxes, pictures, strict=True)]

    def captions(self, column: str | None) -> list[str]:
        """Value and label of each."""
        labels = self.index.labels(column)
        return [
            f"{value:.3g} {labels[member] if labels else ''}".strip()
            for value, member in zip(self.values, self.members, strict=True)
        ]

    def rows(self, column: str | None) -> list[dict[str, Any]]:
        """The table: name, label, value, position and box of each."""
        names, labels, rows = self.index.names, self.index.labels(column), []
        for value, member, position, box in zip(self.values, self.members, self.positions, self.boxes, strict=True):
            row: dict[str, Any] = {"name": names[member], "value": value}
            row |= {"label": labels[member]} if labels else {}
            row |= {} if position is None else {"row": position[0], "column": position[1]}
            rows.append(row | {"top": box.top, "left": box.left, "bottom": box.bottom, "right": box.right})
        return rows


def strongest(
    run: Run[Any],
    image_set: ImageSet,
    target: Target,
    k: int,
    *,
    also: Sequence[str] = (),
    further_steps: int = 0,
) -> Generator[Event, None, Excitation]:
    """The k pictures that excite a channel or a neuron most, from the index; a neuron takes a pass of its own.

    Args:
        run: Can be put down behind the index, and during that pass.
        image_set: Where to look.
        target: A channel or a neuron.
        k: How many.
        also: Further layers that are to be in the index.
        further_steps: That the technique takes afterwards.
    """
    layer = image_set.network.layer(target.layer or "")
    channel = target.channel or 0
    own = -(-len(image_set) // _BATCH) if target.position else 0
    further = own + further_steps
    index = yield from indexed(run, image_set, [layer.name, *also], top_k=k, further_steps=further)
    steps = len(image_set) + own
    if target.position is None:
        top = index.top(layer.name, k)
        values, members = top.values[channel].tolist(), top.rows[channel].tolist()
        places = [(int(y), int(x)) for y, x in top.positions[channel]]
        answers = np.array(index.maxima(layer.name)[:, channel], np.float32)
    else:
        answers = yield from _answers(run, index, target, steps + further_steps)
        members = np.argsort(-answers, kind="stable")[:k].tolist()
        values, places = answers[members].tolist(), [target.position] * len(members)
    pixels = index.pixels(members)
    size = (pixels.shape[-2], pixels.shape[-1])
    spatial = len(layer.output_shape) == _MAP_NDIM
    boxes = [seen_by(layer, place, size) if spatial else Box(0, 0, *size) for place in places]
    positions = [place if spatial else None for place in places]
    return Excitation(index, target, values, members, positions, pixels, boxes, answers, steps)


def _answers(run: Run[Any], index: Index, target: Target, total: int) -> Generator[Event, None, NDArray[np.float32]]:
    """(n,) what a neuron answers to each picture. They stay in a state: what comes behind needs them."""
    network, done = index.image_set.network, len(index.image_set)
    state = run.state("answers", answers=np.zeros(len(index), np.float32), seen=0)
    while state.seen < len(index):
        rows = range(state.seen, min(state.seen + _BATCH, len(index)))
        with torch.no_grad():
            answers = network.score(index.pixels(rows), target)
        if len(answers) != len(rows):
            raise NotApplicable(f"layer {target.layer!r} mixes pictures; take another layer")
        state.answers[rows.start : rows.stop] = answers.cpu().numpy()
        state.seen = rows.stop
        yield Progress(done + rows.start // _BATCH + 1, total)
        yield state
    found: NDArray[np.float32] = state.answers
    return found
