"""An embedding as one self-contained page to move about in."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from importlib import resources
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope_techniques.embedding.regular_grid import RegularGrid
from convscope_techniques.embedding.thumbnails import Pictures, grid_of

__all__ = ["page"]

_LARGEST_SHEET = 2048
_QUALITY = 85
_SHARE = 0.62  # of the room that a picture would have if they lay evenly
_MARGIN = 0.04


def page(
    title: str,
    layout: NDArray[Any],
    grid: RegularGrid,
    pictures: Pictures,
    *,
    names: Sequence[str],
    labels: Sequence[str],
) -> str:
    """HTML that shows pictures at their places and in their cells: pan, zoom, the picture and its label on hover.

    One file: thumbnails are in it as JPEG, and nothing is fetched. Adding `#grid` to its address begins with the grid.

    Args:
        title: What it shows.
        layout: (n, 2).
        grid: Cells of the same pictures.
        pictures: (n, e, e, 3) thumbnails.
        names: Of each picture.
        labels: Of each picture, or empty.
    """
    n, edge = pictures.shape[:2]
    columns = min(math.ceil(math.sqrt(n)), _LARGEST_SHEET // edge)
    cells = np.stack([grid.cells % grid.columns, grid.cells // grid.columns], axis=-1) + 0.5
    data = {
        "title": title,
        "names": list(names),
        "labels": list(labels) or [""] * n,
        "places": _rounded(_MARGIN + (1 - 2 * _MARGIN) * _unit(layout)),
        "cells": _rounded(cells / max(grid.rows, grid.columns)),
        "rows": grid.rows,
        "columns": grid.columns,
        "thumb": min(_SHARE / math.sqrt(n), 1 / 16),
        "edge": edge,
        "columns_of_sheet": columns,
        "sheets": [_sheet(pictures[start : start + columns**2], columns) for start in range(0, n, columns**2)],
    }
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # a name cannot end the script
    template = resources.files("convscope_techniques.embedding").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=html.escape(title), data=text)


def _unit(layout: NDArray[Any]) -> NDArray[np.float64]:
    points = layout.astype(np.float64)
    middle = (points.max(0) + points.min(0)) / 2
    scaled: NDArray[np.float64] = (points - middle) / (float(np.ptp(points, axis=0).max()) or 1.0) + 0.5
    return scaled


def _rounded(points: NDArray[np.float64]) -> list[list[float]]:
    rounded: list[list[float]] = points.round(5).tolist()
    return rounded


def _sheet(pictures: Pictures, columns: int) -> str:
    places = np.full(columns * -(-len(pictures) // columns), -1, np.intp)
    places[: len(pictures)] = np.arange(len(pictures))
    buffer = io.BytesIO()
    sheet = grid_of(places.reshape(-1, columns), pictures).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(sheet)).save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
