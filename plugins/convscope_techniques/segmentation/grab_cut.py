"""Foreground and background told apart by their colours and their borders, in turns (Rother et al. 2004)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from convscope_techniques.segmentation.colour_model import ColourModel
from convscope_techniques.segmentation.graph_cut import Grid

__all__ = ["Cut", "GrabCut"]

Bools = NDArray[np.bool_]

_FIXED = 9.0  # times gamma: more than a pixel's 8 neighbours together


@dataclass(frozen=True, slots=True)
class Cut:
    """One labelling of a picture.

    Attributes:
        labels: (H, W) True for the foreground.
        energy: What the labelling costs: colours in their models, and borders.
    """

    labels: Bools
    energy: float


class GrabCut:
    """`steps` + 1 cuts: by the seeds' colours, and then by GrabCut from there, once in each iteration.

    The second cut is by models made of both sides of the first, the others by models learned anew from the cut
    before; from the second on energies never rise. Ends early where one side is left without pixels. An iterator
    whose `state_dict` has all that changes from cut to cut.

    Args:
        picture: (H, W, 3), 0 to 255.
        foreground: (H, W) seeds of the foreground's model, at least one pixel.
        background: Likewise.
        k: Gaussians in each model.
        gamma: How much borders cost, compared with colours.
        steps: Iterations.
        fixed: Whether seeds keep their label.
    """

    def __init__(
        self,
        picture: NDArray[np.float64],
        foreground: Bools,
        background: Bools,
        *,
        k: int = 5,
        gamma: float = 50.0,
        steps: int = 5,
        fixed: bool = False,
    ) -> None:
        self._shape = picture.shape[:2]
        self._colours, self._grid = picture.reshape(-1, 3), Grid.over(picture, gamma)
        self._sure = [seeds.ravel() & fixed for seeds in (foreground, background)]
        self._k, self._steps, self._certainty = k, steps, _FIXED * gamma
        self._models = [ColourModel.clustered(self._colours[seeds.ravel()], k) for seeds in (foreground, background)]
        self._done = 0
        self._labels: Bools | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Cut:
        if self._labels is not None:
            if self._done > self._steps or self._labels.all() or not self._labels.any():
                raise StopIteration
            self._models = self._learned(self._labels)
        inside, outside = (model.cost(self._colours) for model in self._models)
        costs = (
            np.where(self._sure[1], inside + self._certainty, inside),
            np.where(self._sure[0], outside + self._certainty, outside),
        )
        self._labels, self._done = self._grid.cut(*costs), self._done + 1
        return Cut(self._labels.reshape(self._shape), self._grid.energy(self._labels, *costs))

    def state_dict(self) -> dict[str, Any]:
        """The models, the last labels, and how many cuts were made."""
        models = [[model.weights, model.means, model.precisions] for model in self._models]
        return {"models": models, "labels": self._labels, "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._models = [ColourModel(*parts) for parts in state["models"]]
        self._labels, self._done = state["labels"], state["done"]

    def _learned(self, labels: Bools) -> list[ColourModel]:
        sides = self._colours[labels], self._colours[~labels]
        if self._done == 1:
            return [ColourModel.clustered(side, self._k) for side in sides]
        return [model.relearned(side) for model, side in zip(self._models, sides, strict=True)]
