"""Pictures in a terminal: its graphics protocol where it has one, else half blocks in colour."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from rich.color import Color
from rich.style import Style
from rich.text import Text

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

__all__ = ["Protocol", "cells", "encode", "half_blocks", "protocol_of"]

Protocol: TypeAlias = Literal["kitty", "iterm2", "sixel"]

_CHUNK = 4096
# Pixels of a cell where the terminal does not say.
_CELL = (8, 16)
_SHORT_RUN = 3  # equal sixels in a row that are written out: counted, as "!3?", they take as much room
_SIXEL_TERMS = frozenset({"foot", "foot-extra", "mlterm", "yaft-256color", "contour"})
_KITTY_PROGRAMS = frozenset({"ghostty", "WezTerm"})


def protocol_of(environment: Mapping[str, str]) -> Protocol | None:
    """The graphics protocol of the terminal that these environment variables describe."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or term.startswith("screen"):
        return None  # What is between would swallow it.
    if "KITTY_WINDOW_ID" in environment or term == "xterm-kitty" or program in _KITTY_PROGRAMS:
        return "kitty"
    if program == "iTerm.app" or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return "sixel" if term in _SIXEL_TERMS or "sixel" in term else None


def cells(size: tuple[int, int], *, columns: int, rows: int) -> tuple[int, int]:
    """Columns and rows for a picture of `size` pixels in a room of that many; a cell is twice as high as wide."""
    width, height = size
    wide = min(columns, max(1, round(rows * 2 * width / height)))
    return wide, max(1, min(rows, round(wide * height / width / 2)))


def encode(picture: Image, protocol: Protocol, columns: int, rows: int) -> str:
    """The escape sequence that draws the picture over that many cells from the cursor on."""
    match protocol:
        case "kitty":
            return _kitty(picture, columns, rows)
        case "iterm2":
            data = base64.b64encode(_png(picture)).decode("ascii")
            return f"\x1b]1337;File=inline=1;width={columns};height={rows};preserveAspectRatio=1:{data}\a"
        case "sixel":
            return _sixel(picture.resize((columns * _CELL[0], rows * _CELL[1])))


def _png(picture: Image) -> bytes:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG", compress_level=1)
    return file.getvalue()


def _kitty(picture: Image, columns: int, rows: int) -> str:
    data = base64.b64encode(_png(picture)).decode("ascii")
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    # One id and placement: each picture replaces the one before.
    head = f"a=T,f=100,i=8470,p=1,q=2,C=1,c={columns},r={rows},"
    parts = [
        f"\x1b_G{head if place == 0 else ''}m={int(place < len(chunks) - 1)};{chunk}\x1b\\"
        for place, chunk in enumerate(chunks)
    ]
    return "".join(parts)


def _sixel(picture: Image) -> str:
    import numpy as np

    indexed = picture.convert("RGB").quantize(64)
    palette = (indexed.getpalette() or [])[: 64 * 3]
    colours = [palette[start : start + 3] for start in range(0, len(palette), 3)]
    table = "".join(
        f"#{number};2;" + ";".join(str(round(channel * 100 / 255)) for channel in colour)
        for number, colour in enumerate(colours)
    )
    pixels = np.asarray(indexed)
    bands = [_sixel_band(pixels[top : top + 6]) for top in range(0, pixels.shape[0], 6)]
    return f'\x1bPq"1;1;{picture.width};{picture.height}{table}{"-".join(bands)}\x1b\\'


def _sixel_band(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
    """Six rows of pixels: for each colour, a character a column whose bits say which rows have it."""
    import numpy as np

    weights = (1 << np.arange(pixels.shape[0]))[:, None]
    lines = []
    for colour in np.unique(pixels):
        bits = ((pixels == colour) * weights).sum(axis=0)
        starts = np.flatnonzero(np.diff(bits, prepend=-1))
        lengths = np.diff(starts, append=bits.size)
        runs = [
            f"!{length}{chr(63 + bits[start])}" if length > _SHORT_RUN else chr(63 + bits[start]) * length
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]
        lines.append(f"#{colour}{''.join(runs)}")
    return "$".join(lines)


def half_blocks(picture: Image, columns: int, rows: int) -> Text:
    """The picture as text: each cell is two pixels, the upper one in the foreground."""
    small = picture.convert("RGB").resize((columns, rows * 2))
    pixels = small.load()
    assert pixels is not None
    text = Text(no_wrap=True)
    for row in range(rows):
        for column in range(columns):
            upper, lower = pixels[column, 2 * row], pixels[column, 2 * row + 1]
            text.append("▀", Style(color=_colour(upper), bgcolor=_colour(lower)))
        if row < rows - 1:
            text.append("\n")
    return text


def _colour(pixel: float | tuple[int, ...]) -> Color:
    assert isinstance(pixel, tuple)
    return Color.from_rgb(*pixel[:3])
