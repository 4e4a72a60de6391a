"""Deletion and insertion as RISE's authors draw them: confidence over the share of pixels exchanged."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont

from convscope_sdk.pictures import number
from convscope_techniques.attribution.faithfulness import Curve

__all__ = ["curve_picture"]

_SIZE = (384, 264)
_LEFT, _TOP, _RIGHT, _BOTTOM = 44, 34, 14, 40  # around the axes
_FINER = 3  # drawn larger by that and reduced, for smooth lines
_PAPER, _INK, _GRID = (255, 255, 255), (40, 40, 40), (225, 225, 225)
_LINES = ((33, 102, 172), (214, 93, 51), (90, 160, 60))
_TICKS = 5


def curve_picture(curves: Mapping[str, Curve], unit: float = 1.0) -> Image.Image:
    """The curves by name, their areas beside their names, on axes from 0 to 1, or further where values are.

    Args:
        curves: At most three.
        unit: What values are divided by.
    """
    ends = [float(value) / unit for curve in curves.values() for value in (curve.values.min(), curve.values.max())]
    axes = _Axes(min(0.0, *ends), max(1.0, *ends))
    sheet = Image.new("RGB", (_SIZE[0] * _FINER, _SIZE[1] * _FINER), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _frame(draw, axes)
    left = _LEFT
    for (name, curve), color in zip(curves.items(), _LINES, strict=False):
        points = zip(curve.fractions.tolist(), (curve.values / unit).tolist(), strict=True)
        draw.line([axes.at(x, y) for x, y in points], fill=color, width=2 * _FINER, joint="curve")
        text = f"{name} {number(curve.area / unit)}"
        draw.text((left * _FINER, 8 * _FINER), text, fill=color, font=_font(14))
        left += 12 + round(_font(14).getlength(text) / _FINER)
    return sheet.resize(_SIZE, Image.Resampling.BOX)


class _Axes:
    """Where values from `low` to `high` stand, over fractions from 0 to 1."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def at(self, x: float, y: float) -> tuple[float, float]:
        width, height = _SIZE[0] - _LEFT - _RIGHT, _SIZE[1] - _TOP - _BOTTOM
        up = (y - self.low) / (self.high - self.low)
        return (_LEFT + x * width) * _FINER, (_TOP + (1 - up) * height) * _FINER


def _frame(draw: ImageDraw.ImageDraw, axes: _Axes) -> None:
    for tick in range(_TICKS + 1):
        x, y = tick / _TICKS, axes.low + (axes.high - axes.low) * tick / _TICKS
        draw.line([axes.at(0, y), axes.at(1, y)], fill=_GRID, width=_FINER)
        across, down = axes.at(x, axes.low)
        draw.text((across, down + 4 * _FINER), number(x), fill=_INK, font=_font(11), anchor="ma")
        across, down = axes.at(0, y)
        draw.text((across - 5 * _FINER, down), number(y), fill=_INK, font=_font(11), anchor="rm")
    draw.line([axes.at(0, axes.high), axes.at(0, axes.low), axes.at(1, axes.low)], fill=_INK, width=_FINER)
    across, down = axes.at(0.5, axes.low)
    draw.text((across, down + 20 * _FINER), "share of pixels exchanged", fill=_INK, font=_font(12), anchor="ma")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _FINER)
