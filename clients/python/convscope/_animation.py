"""A run as a short film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.errors import InvalidArgument

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FORMATS", "MAX_FRAMES", "write_animation"]

MAX_FRAMES = 240
_HOLD_MS = 1000
FORMATS: dict[str, dict[str, Any]] = {
    ".webp": {"format": "WEBP", "quality": 80, "method": 2},
    ".gif": {"format": "GIF", "optimize": False},
    ".png": {"format": "PNG"},
}


def write_animation(
    path: Path,
    frames: Sequence[Image.Image],
    last: Image.Image,
    *,
    fps: float,
    max_edge: int,
    max_frames: int = MAX_FRAMES,
) -> Path:
    """Write the frames and then `last`, held for a second, all at one size and for ever again.

    Args:
        path: Ends in .webp, .gif or .png (APNG).
        frames: What comes before.
        last: The finished picture; its shape is the film's.
        fps: Frames a second, 0.1 to 50.
        max_edge: Longest edge in pixels.
        max_frames: So many frames are shown at most, evenly spread.

    Raises:
        InvalidArgument: the format is none of these, or `fps` is out of range.
    """
    options = FORMATS.get(path.suffix.lower())
    if options is None:
        raise InvalidArgument(f"cannot animate as {path.suffix or path.name!r}; choose {', '.join(FORMATS)}")
    if not 0.1 <= fps <= 50:  # noqa: PLR2004 - what viewers honour
        raise InvalidArgument(f"fps is 0.1 to 50, not {fps!r}")
    size = _fit(last.size, max_edge)
    film = [frame.convert("RGB").resize(size) for frame in [*_spread(frames, max_frames), last]]
    durations = [round(1000 / fps)] * (len(film) - 1) + [_HOLD_MS]
    path.parent.mkdir(parents=True, exist_ok=True)
    film[0].save(path, save_all=True, append_images=film[1:], duration=durations, loop=0, **options)
    return path


def _spread(frames: Sequence[Image.Image], most: int) -> list[Image.Image]:
    every = -(-len(frames) // most) or 1
    return list(frames[::every])


def _fit(size: tuple[int, int], max_edge: int) -> tuple[int, int]:
    scale = min(1.0, max_edge / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
