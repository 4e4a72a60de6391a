"""All that is known of a unit on one page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from convscope_sdk.pictures import to_picture

__all__ = ["histogram_picture", "unit_page"]

_WIDTH, _MARGIN, _TILE = 880, 24, 128
_PICTURE = 3 * _TILE
_PLOT = (_PICTURE, 200)
_LINE = 22
_PAPER, _INK, _FAINT, _BAR = (255, 255, 255), (30, 30, 30), (120, 120, 120), (214, 93, 51)
_BINS = 40


def unit_page(
    title: str,
    *,
    visualization: Any,
    patches: Sequence[NDArray[Any]],
    captions: Sequence[str],
    answers: NDArray[Any],
    words: Sequence[tuple[str, Sequence[str]]],
) -> Image.Image:
    """A page: what was made for the unit, the patches that excite it most, how often it answers what, and lists.

    Args:
        title: The unit and its network.
        visualization: (3, H, W).
        patches: At most nine, strongest first.
        captions: One for each patch.
        answers: (n,) of the pictures of the set.
        words: Headed lists.
    """
    lines = max((len(items) for _, items in words), default=0)
    body = _MARGIN * 2 + _LINE + 3 * (_TILE + _LINE)
    page = Image.new("RGB", (_WIDTH, body + max(_PLOT[1], _LINE * (lines + 1)) + 2 * _MARGIN), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN), title, fill=_INK, font=ImageFont.load_default(18))
    top = 2 * _MARGIN + _LINE
    page.paste(to_picture(visualization).resize((_PICTURE, _PICTURE), Image.Resampling.BICUBIC), (_MARGIN, top))
    _paste_patches(page, patches[:9], captions, (_WIDTH - _MARGIN - 3 * (_TILE + 8), top))
    page.paste(histogram_picture(answers), (_MARGIN, body + _MARGIN))
    room = (_WIDTH - 3 * _MARGIN - _PICTURE) // max(1, len(words))
    for column, (heading, items) in enumerate(words):
        _write(draw, heading, items, (2 * _MARGIN + _PICTURE + column * room, body + _MARGIN), room)
    return page


def histogram_picture(answers: NDArray[Any]) -> Image.Image:
    """How many pictures get which answer, as bars."""
    plot = Image.new("RGB", _PLOT, _PAPER)
    draw, font = ImageDraw.Draw(plot), ImageFont.load_default(12)
    counts, edges = np.histogram(answers, _BINS)
    floor, width = _PLOT[1] - _LINE, _PLOT[0] / _BINS
    for place, count in enumerate(counts.tolist()):
        height = (floor - _LINE) * count / max(1, counts.max())
        if count:
            draw.rectangle((place * width, floor - height, (place + 1) * width - 2, floor), fill=_BAR)
    draw.line((0, floor, _PLOT[0], floor), fill=_INK)
    draw.text((0, 0), f"greatest answer of {len(answers):,} pictures", fill=_FAINT, font=font)
    draw.text((0, floor + 4), f"{edges[0]:.3g}", fill=_INK, font=font)
    draw.text((_PLOT[0] - 1, floor + 4), f"{edges[-1]:.3g}", fill=_INK, font=font, anchor="ra")
    return plot


def _paste_patches(
    page: Image.Image, patches: Sequence[NDArray[Any]], captions: Sequence[str], corner: tuple[int, int]
) -> None:
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for number, (patch, caption) in enumerate(zip(patches, captions, strict=False)):
        down, across = divmod(number, 3)
        left, top = corner[0] + across * (_TILE + 8), corner[1] + down * (_TILE + _LINE)
        picture = to_picture(patch)
        scale = _TILE / max(picture.size)
        method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), method)
        page.paste(picture, (left + (_TILE - picture.width) // 2, top + (_TILE - picture.height) // 2))
        draw.text((left, top + _TILE + 2), _cut(caption, font, _TILE), fill=_FAINT, font=font)


def _write(draw: ImageDraw.ImageDraw, heading: str, items: Sequence[str], corner: tuple[int, int], room: int) -> None:
    left, top = corner
    font = ImageFont.load_default(13)
    draw.text((left, top), heading, fill=_FAINT, font=font)
    for line, item in enumerate(items, 1):
        draw.text((left, top + line * _LINE), _cut(item, font, room - 10), fill=_INK, font=font)


def _cut(text: str, font: Any, room: int) -> str:
    length = font.getlength(text)
    if length <= room:
        return text
    return text[: max(1, math.floor(len(text) * room / length) - 1)] + "…"
