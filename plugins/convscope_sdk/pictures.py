"""Arrays as pictures: RGB, maps in colour, maps over a picture. NumPy and Pillow, nothing else."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from convscope_sdk.colormaps import DIVERGING, SEQUENTIAL, Colormap

__all__ = ["heatmap_picture", "map_of", "number", "overlay_picture", "span_of", "to_array", "to_picture"]

_INK = (40, 40, 40)
_PAPER = (255, 255, 255)
_SMALLEST_MAP = 224
_NARROWEST_LEGEND = 112
_BAR = 10
_MARGIN = 5
_FONT_SIZE = 12
_FAINT = 1e-3  # chroma below which a colour is grey
_INSIDE = 0.99  # of the values lie within a scale that others would swamp
_SWAMPED = 2.0  # times that scale is where they begin to
_SPOT = 50.0  # times that scale is no outlier but what the map is about
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def to_array(values: Any) -> NDArray[Any]:
    """A NumPy array of a torch tensor (wherever it lives), an array or nested lists; bfloat16 becomes float32."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    tensor = values.detach().cpu()
    try:
        return np.asarray(tensor.numpy())
    except TypeError:  # a type that NumPy lacks
        return np.asarray(tensor.float().numpy())


def to_picture(image: Any) -> Image.Image:
    """A picture in any of the forms that events take, as 8-bit RGB; floats are clipped to [0, 1].

    Raises:
        ValueError: the shape or type is no picture's, or it has NaN or infinite values.
    """
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    array = to_array(image)
    if array.ndim == 4 and len(array) == 1:  # noqa: PLR2004 - a batch of one
        array = array[0]
    if array.ndim == 2:  # noqa: PLR2004 - grey
        array = array[None]
    if array.ndim != 3 or array.shape[0] not in {1, 3} or array.size == 0:  # noqa: PLR2004 - channels and two edges
        raise ValueError(f"a picture has shape (3, H, W), (1, H, W) or (H, W), not {array.shape}")
    channels = np.broadcast_to(_eight_bits(array), (3, *array.shape[1:]))
    return Image.fromarray(np.ascontiguousarray(channels.transpose(1, 2, 0)))


def map_of(values: Any) -> NDArray[np.float64]:
    """The (H, W) map in `values`, leading axes of length one dropped.

    Raises:
        ValueError: it has another shape or type, or NaN or infinite values.
    """
    array = to_array(values)
    shape = array.shape
    while array.ndim > 2 and len(array) == 1:  # noqa: PLR2004 - rows and columns
        array = array[0]
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "biuf":  # noqa: PLR2004 - rows and columns
        raise ValueError(f"a map is an (H, W) array of real numbers, not {array.dtype} of shape {shape}")
    _check_finite(array, "a map")
    return array.astype(np.float64)


def span_of(values: NDArray[np.float64], *, signed: bool) -> tuple[float, float]:
    """The values that the ends of the colour map stand for.

    Signed: as far below zero as above. Else least to greatest; for a constant map, zero and the constant. Where a few
    outliers would leave all others without colour, the end is the 99th percentile, and they share its colour.
    """
    if signed:
        bound = _end(np.abs(values), 0.0)
        return (-bound, bound) if bound else (0.0, 0.0)
    low, high = float(values.min()), float(values.max())
    return (min(low, 0.0), max(high, 0.0)) if low == high else (low, _end(values, low))


def _end(values: NDArray[np.float64], low: float) -> float:
    """The greatest value, or the 99th percentile where the greatest is far above it but not out of all proportion."""
    greatest, inside = float(values.max()), float(np.quantile(values, _INSIDE, method="higher"))
    return inside if _SWAMPED * (inside - low) < greatest - low < _SPOT * (inside - low) else greatest


def heatmap_picture(values: Any, *, signed: bool = False, size: tuple[int, int] | None = None) -> Image.Image:
    """The map in colours, and below it a legend with the values that the colours' ends stand for.

    Args:
        values: (H, W), any range. A constant map is drawn on the scale from zero to its value. Outliers that would
            swamp all others have the end's colour, and the legend says so.
        signed: Zero in the middle of a diverging colour map; else least to greatest on a sequential one.
        size: Of the map without its legend, (width, height). Where absent its own, but a map smaller than
            224 px is enlarged to at least that by a whole factor. Never smoothed.

    Raises:
        ValueError: it is no map, or has NaN or infinite values.
    """
    array = map_of(values)
    span = span_of(array, signed=signed)
    colors = Image.fromarray((DIVERGING if signed else SEQUENTIAL)(_scaled(array, span, signed=signed)))
    factor = math.ceil(_SMALLEST_MAP / max(colors.size))
    size = size or (colors.width * factor, colors.height * factor)
    beyond = float((np.abs(array) if signed else array).max()) > span[1]
    legend = _legend(max(size[0], _NARROWEST_LEGEND), span, signed=signed, beyond=beyond)
    sheet = Image.new("RGB", (legend.width, size[1] + legend.height), _PAPER)
    sheet.paste(colors.resize(size, Image.Resampling.NEAREST), ((sheet.width - size[0]) // 2, 0))
    sheet.paste(legend, (0, size[1]))
    return sheet


def overlay_picture(picture: Image.Image, values: Any, *, signed: bool = False) -> Image.Image:
    """The picture in greys of its own brightness, coloured where the map says something.

    The colour is the map's and grows stronger with the value's amount; luma (ITU-R BT.601) stays the picture's.

    Args:
        picture: RGB; the result has its size.
        values: (H, W), the picture's height and width; any range.
        signed: Blue below zero and red above; else from least to greatest.

    Raises:
        ValueError: it is no map of that size, or has NaN or infinite values.
    """
    array = map_of(values)
    if picture.size != array.shape[::-1]:
        raise ValueError(f"a map of shape {array.shape} does not cover a picture of shape {picture.size[::-1]}")
    scaled = _scaled(array, span_of(array, signed=signed), signed=signed).astype(np.float32)
    strength = np.abs(2 * scaled - 1) if signed else scaled
    colors = DIVERGING if signed else SEQUENTIAL
    # Of the sequential map only violet to orange: at a dark picture's luma, yellow would be olive.
    place = colors.places(scaled if signed else np.float32(0.25) + scaled / 2)
    chroma, upward, downward = (of[place] for of in _chroma(colors))
    luma = np.asarray(picture.convert("RGB"), dtype=np.float32) @ (_LUMA / 255)
    # How many times the chroma fits between the grey and the faces of the RGB cube.
    reach = np.minimum((1 - luma) / upward, luma / downward)
    colored = luma[..., None] + (strength * reach)[..., None] * chroma
    return Image.fromarray(np.asarray(np.rint(colored.clip(0, 1) * 255), dtype=np.uint8))


@functools.cache
def _chroma(colors: Colormap) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Of each colour: itself less its luma, and how far that reaches up and down, infinite where it is grey."""
    color = colors.table.astype(np.float32) / 255
    chroma = color - (color @ _LUMA)[:, None]
    grey = np.abs(chroma).max(-1) < _FAINT
    upward, downward = (np.where(grey, np.inf, way.max(-1)).astype(np.float32) for way in (chroma, -chroma))
    return chroma.astype(np.float32), upward, downward


def _eight_bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "bf":
        raise ValueError(f"a picture holds uint8 or floats in [0, 1], not {array.dtype}")
    _check_finite(array, "a picture")
    return np.asarray(np.rint(np.clip(array.astype(np.float32), 0, 1) * 255), dtype=np.uint8)


def _check_finite(array: NDArray[Any], what: str) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        kind = "NaN" if np.isnan(array).any() else "infinite"
        raise ValueError(
            f"{what} has {array.size - int(finite.sum())} of {array.size} values {kind}; it cannot be drawn"
        )


def _scaled(array: NDArray[np.float64], span: tuple[float, float], *, signed: bool) -> NDArray[np.float64]:
    low, high = span
    if low == high:  # all zero
        return np.full(array.shape, 0.5 if signed else 0.0)
    return ((array - low) / (high - low)).clip(0, 1)


def _legend(width: int, span: tuple[float, float], *, signed: bool, beyond: bool) -> Image.Image:
    """A bar of all colours with numbers under it; those at the ends are bounds where values lie `beyond`."""
    font = ImageFont.load_default(_FONT_SIZE)
    height = _MARGIN + _BAR + 2 + _FONT_SIZE + _MARGIN
    legend = Image.new("RGB", (width, height), _PAPER)
    bar = (DIVERGING if signed else SEQUENTIAL)(np.linspace(0, 1, width - 2 * _MARGIN))
    legend.paste(Image.fromarray(np.repeat(bar[None], _BAR, axis=0)), (_MARGIN, _MARGIN))
    draw = ImageDraw.Draw(legend)
    top = _MARGIN + _BAR + 2
    if signed:
        draw.text((width // 2, top), "0", fill=_INK, font=font, anchor="ma")
    if span[0] != span[1] or not signed:
        least = f"< {number(span[0])}" if beyond and signed else number(span[0])
        draw.text((_MARGIN, top), least, fill=_INK, font=font, anchor="la")
    if span[0] != span[1]:
        greatest = f"> {number(span[1])}" if beyond else number(span[1])
        draw.text((width - _MARGIN, top), greatest, fill=_INK, font=font, anchor="ra")
    return legend


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value + 0.0:.3g}"  # the sum makes 0 of -0
