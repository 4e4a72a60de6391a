"""Many small pictures as one labelled sheet. NumPy and Pillow, nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from convscope_sdk.pictures import number, to_picture

__all__ = ["grid_picture"]

_INK = (40, 40, 40)
_SHEET = (228, 228, 228)  # neutral, and unlike the black and white that tiles are made of
_LARGEST_EDGE = 4096
_MOST_GAP = 5
_TILE_PER_GAP = 48  # gaps are a pixel, and one more for each so many pixels of a tile
_FONT_SIZE = 12
_LINE = 16
_SHEET_WIDTH = 1000  # that enlarged tiles aim at
_LEAST_TILE = 48
_LEAST_LABELLED = 96
_MOST_TILE = 224


def grid_picture(
    tiles: Any,
    *,
    labels: Sequence[str] = (),
    columns: int | None = None,
    scale: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> Image.Image:
    """The tiles as one sheet with thin gaps, each label under its tile; no edge above 4,096 px.

    Args:
        tiles: Pictures, or one (N, C, h, w) array; a smaller one is centred in the room of the largest.
        labels: One for each tile, or none; cut where longer than the tile is wide.
        columns: Tiles in a row; near square where absent.
        scale: Enlargement, without smoothing; chosen so that a tile can be seen where absent.
        value_range: The values that black and white stand for, printed below the sheet.

    Raises:
        ValueError: no tiles, another number of labels than tiles, or a tile that is no picture.
    """
    pictures = [to_picture(tile) for tile in tiles]
    if not pictures:
        raise ValueError("a grid needs at least one tile")
    if len(labels) not in {0, len(pictures)}:
        raise ValueError(f"a grid of {len(pictures)} tiles has {len(labels)} labels; give one for each, or none")
    footer = "" if value_range is None else f"black {number(value_range[0])}    white {number(value_range[1])}"
    layout = _Layout.of(pictures, columns, scale, line=_LINE if labels else 0, footer=_LINE if footer else 0)
    sheet = Image.new("RGB", layout.size, _SHEET)
    for index, picture in enumerate(pictures):
        left, top = layout.corner(index)
        tile = layout.scaled(picture)
        sheet.paste(tile, (left + (layout.width - tile.width) // 2, top + (layout.height - tile.height) // 2))
    _write(sheet, layout, labels, footer)
    return sheet


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where tiles lie: the room of one tile, in pixels, and how much of the sheet text takes."""

    count: int
    columns: int
    factor: float
    width: int
    height: int
    line: int
    footer: int
    gap: int

    @classmethod
    def of(
        cls, pictures: Sequence[Image.Image], columns: int | None, scale: int | None, *, line: int, footer: int
    ) -> _Layout:
        width, height = max(p.width for p in pictures), max(p.height for p in pictures)
        count = len(pictures)
        columns = min(count, max(1, columns or math.ceil(math.sqrt(count * height / width))))
        rows = -(-count // columns)
        factor: float = max(1, scale or _readable(max(width, height), columns, labelled=line > 0))
        gap = min(_MOST_GAP, 1 + int(max(width, height) * factor) // _TILE_PER_GAP)
        factor = min(factor, _fitting(width, columns, gap), _fitting(height, rows, gap + line, footer))
        width, height = (max(1, int(edge * factor)) for edge in (width, height))
        return cls(count, columns, factor, width, height, line, footer, gap)

    @property
    def size(self) -> tuple[int, int]:
        rows = -(-self.count // self.columns)
        width = self.columns * (self.width + self.gap) + self.gap
        return width, rows * (self.height + self.line + self.gap) + self.gap + self.footer

    def corner(self, index: int) -> tuple[int, int]:
        row, column = divmod(index, self.columns)
        return (
            self.gap + column * (self.width + self.gap),
            self.gap + row * (self.height + self.line + self.gap),
        )

    def scaled(self, picture: Image.Image) -> Image.Image:
        size = (max(1, int(picture.width * self.factor)), max(1, int(picture.height * self.factor)))
        method = Image.Resampling.NEAREST if self.factor >= 1 else Image.Resampling.BOX
        return picture.resize(size, method)


def _fitting(edge: int, count: int, between: int, beyond: int = 0) -> float:
    """The greatest enlargement, whole where it is one, with which so many tiles stay within the largest sheet."""
    room = ((_LARGEST_EDGE - between - beyond) / count - between) / edge
    return max(math.floor(room) if room >= 1 else room, 1 / edge)


def _readable(edge: int, columns: int, *, labelled: bool) -> int:
    least = _LEAST_LABELLED if labelled else _LEAST_TILE
    return min(_MOST_TILE, max(least, _SHEET_WIDTH // columns)) // edge


def _write(sheet: Image.Image, layout: _Layout, labels: Sequence[str], footer: str) -> None:
    font = ImageFont.load_default(_FONT_SIZE)
    draw = ImageDraw.Draw(sheet)
    for index, label in enumerate(labels):
        left, top = layout.corner(index)
        text = _cut(str(label), layout.width, font)
        draw.text((left + layout.width // 2, top + layout.height + 1), text, fill=_INK, font=font, anchor="ma")
    if footer:
        draw.text((layout.gap + 3, sheet.height - _LINE), footer, fill=_INK, font=font, anchor="la")


def _cut(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of the text as fits into `width` pixels, with an ellipsis where some is missing."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
