"""From what a technique yields to pictures, arrays, rows and words: NumPy and Pillow, nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from convscope_sdk.events import Heatmap, Image, ImageGrid, Preview, Result, ResultKind, Table, Tensor, Text
from convscope_sdk.grid import grid_picture
from convscope_sdk.pictures import heatmap_picture, map_of, overlay_picture, span_of, to_array, to_picture

__all__ = [
    "Rendered",
    "Renderer",
    "grid_picture",
    "heatmap_picture",
    "overlay_picture",
    "preview_picture",
    "render",
    "to_picture",
]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One result, ready to be encoded.

    Attributes:
        name: What it shows, unique among the results of its kind.
        kind: What `value` is: a PIL image, an array, a list of rows, or a string.
        value: The content.
        caption: One line for a person.
        value_range: The values that a picture's colours or grey levels span, where it was drawn from data.
        media_type: Of a text.
    """

    name: str
    kind: ResultKind
    value: PILImage.Image | NDArray[Any] | list[dict[str, Any]] | str
    caption: str = ""
    value_range: tuple[float, float] | None = None
    media_type: str = ""


class Renderer:
    """Renders the results of one run, and sees to it that no two of a kind have the same name.

    Args:
        input_picture: The pixels that the network saw, for overlays.
    """

    __slots__ = ("_input", "_taken")

    def __init__(self, input_picture: PILImage.Image | None = None) -> None:
        self._input = input_picture
        self._taken: set[tuple[ResultKind, str]] = set()

    def render(self, event: Result) -> list[Rendered]:
        """What the event becomes: a heatmap up to three things, every other event one.

        The overlay of the first heatmap is called "overlay", that of each later one "<name>_overlay".

        Raises:
            ValueError: a name is empty or was used before, or an array is no picture, has NaN, or the like.
            TypeError: the event is no result.
        """
        results = list(self._results(event))
        for result in results:
            if not result.name:
                raise ValueError(f"a result of kind {result.kind} has an empty name; name it by what it shows")
            if (result.kind, result.name) in self._taken:
                raise ValueError(f"two results of kind {result.kind} are called {result.name!r}; rename one")
            self._taken.add((result.kind, result.name))
        return results

    def _results(self, event: Result) -> list[Rendered]:
        match event:
            case Heatmap():
                return self._heatmap(event)
            case Image():
                return [Rendered(event.name, "image", to_picture(event.image), event.caption)]
            case ImageGrid():
                return [_grid(event)]
            case Tensor():
                return [Rendered(event.name, "tensor", _numeric(event.values), event.caption)]
            case Table():
                rows = [{str(key): _plain(value) for key, value in row.items()} for row in event.rows]
                return [Rendered(event.name, "table", rows, event.caption)]
            case Text():
                return [Rendered(event.name, "text", event.text, event.caption, media_type=event.media_type)]
        raise TypeError(f"{type(event).__name__} is no result, as Image, Heatmap, ImageGrid, Tensor, Table, Text are")

    def _heatmap(self, event: Heatmap) -> list[Rendered]:
        values = map_of(event.values)
        span = span_of(values, signed=event.signed)
        drawn = heatmap_picture(values, signed=event.signed)
        results = [Rendered(event.name, "image", drawn, event.caption, span)]
        if event.overlay and self._input is not None and self._input.size == values.shape[::-1]:
            name = "overlay" if ("image", "overlay") not in self._taken else f"{event.name}_overlay"
            over = overlay_picture(self._input, values, signed=event.signed)
            results.append(Rendered(name, "image", over, event.caption, span))
        raw = _numeric(event.values).reshape(values.shape)
        return [*results, Rendered(event.name, "tensor", raw, event.caption)]


def _grid(event: ImageGrid) -> Rendered:
    sheet = grid_picture(
        event.tiles,
        labels=event.labels,
        columns=event.columns,
        scale=event.scale,
        value_range=event.value_range,
    )
    return Rendered(event.name, "image", sheet, event.caption, event.value_range)


def _numeric(values: Any) -> NDArray[Any]:
    array = np.array(to_array(values), order="C")  # a copy: the technique may go on writing into its own
    if array.dtype.kind not in "biufc":
        raise ValueError(f"a tensor holds numbers, not {array.dtype}")
    return array


def _plain(value: Any) -> Any:
    """A table's cell as JSON knows it; NaN and infinities, which it does not know, become None."""
    if hasattr(value, "tolist"):  # NumPy's and torch's
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"a table holds text, numbers, booleans, None and lists of them, not {type(value).__name__}")


def render(event: Result, input_picture: PILImage.Image | None = None) -> list[Rendered]:
    """What one event becomes, by itself; a run of several results uses one `Renderer`."""
    return Renderer(input_picture).render(event)


def preview_picture(event: Preview, input_picture: PILImage.Image | None = None) -> PILImage.Image:
    """The frame: a picture as it is; a map over the input where it has its size, else in its own colours.

    A map with values below zero is drawn around zero.

    Raises:
        ValueError: the array is no picture or map, or has NaN.
    """
    if not event.heatmap:
        return to_picture(event.image)
    values = map_of(event.image)
    signed = bool(values.min() < 0)
    if input_picture is not None and input_picture.size == values.shape[::-1]:
        return overlay_picture(input_picture, values, signed=signed)
    return heatmap_picture(values, signed=signed)
