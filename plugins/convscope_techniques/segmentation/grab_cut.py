"""Foreground and background told apart by their colours and their borders, in turns (Rother et al. 2004)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope_techniques.segmentation.colour_model import ColourModel
from convscope_techniques.segmentation.graph_cut import Grid

__all__ = ["Cut", "grab_cut"]

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


def grab_cut(
    picture: NDArray[np.float64],
    foreground: Bools,
    background: Bools,
    *,
    k: int = 5,
    gamma: float = 50.0,
    steps: int = 5,
    fixed: bool = False,
) -> Iterator[Cut]:
    """`steps` + 1 cuts: by the seeds' colours, and then by GrabCut from there, once in each iteration.

    The second cut is by models made of both sides of the first, the others by models learned anew from the cut
    before; from the second on energies never rise. Ends early where one side is left without pixels.

    Args:
        picture: (H, W, 3), 0 to 255.
        foreground: (H, W) seeds of the foreground's model, at least one pixel.
        background: Likewise.
        k: Gaussians in each model.
        gamma: How much borders cost, compared with colours.
        steps: Iterations.
        fixed: Whether seeds keep their label.
    """
    colours, grid = picture.reshape(-1, 3), Grid.over(picture, gamma)
    sure = [seeds.ravel() & fixed for seeds in (foreground, background)]
    models = [ColourModel.clustered(colours[seeds.ravel()], k) for seeds in (foreground, background)]
    for step in range(steps + 1):
        inside, outside = (model.cost(colours) for model in models)
        costs = (
            np.where(sure[1], inside + _FIXED * gamma, inside),
            np.where(sure[0], outside + _FIXED * gamma, outside),
        )
        labels = grid.cut(*costs)
        yield Cut(labels.reshape(picture.shape[:2]), grid.energy(labels, *costs))
        if step == steps or labels.all() or not labels.any():
            return
        sides = colours[labels], colours[~labels]
        if step == 0:
            models = [ColourModel.clustered(side, k) for side in sides]
        else:
            models = [model.relearned(side) for model, side in zip(models, sides, strict=True)]
