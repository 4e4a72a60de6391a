"""How much of a device's memory runs need, as learned from earlier ones alike."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
from PIL import Image, UnidentifiedImageError

from convscope_server.engine.messages import RunSpec

__all__ = ["Need", "Needs", "together"]

logger = logging.getLogger(__name__)

_MOST = 4096
_WORTH_WRITING = 1.05


class Need(msgspec.Struct, frozen=True):
    """Bytes that a run holds between its steps, and that it has at most within one, those included."""

    held: int = 0
    peak: int = 0

    def joined(self, other: Need) -> Need:
        """The larger of each."""
        return Need(max(self.held, other.held), max(self.peak, other.peak))


def together(needs: Iterable[Need]) -> int:
    """Bytes that runs of one device need at once: what all hold, and the largest step, since one steps at a time."""
    found = list(needs)
    return sum(need.held for need in found) + max((need.peak - need.held for need in found), default=0)


class Needs:
    """What runs of each technique, model and size have needed.

    Args:
        file: Where it is kept from one server to the next; None: nowhere.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, Need] = {}
        if file is not None:
            self._known = _read(file)

    def of(self, spec: RunSpec) -> Need:
        """What a run will need; nothing where none like it has run."""
        return self._known.get(self.likeness(spec), Need())

    def learn(self, likeness: str, need: Need) -> None:
        """A run like that has needed so much."""
        before = self._known.get(likeness, Need())
        after = before.joined(need)
        if after.peak <= _WORTH_WRITING * before.peak and after.held <= _WORTH_WRITING * before.held:
            return
        self._known.pop(likeness, None)
        self._known[likeness] = after
        while len(self._known) > _MOST:
            self._known.pop(next(iter(self._known)))
        if self._file is not None:
            self._write(self._file)

    def likeness(self, spec: RunSpec) -> str:
        """What runs that need the same share."""
        chosen = [f"{word}={spec.params[word]}" for word in ("size", "batch") if word in spec.params]
        return " ".join([spec.technique, spec.model, *chosen, *_pixels(spec.image)])

    def _write(self, file: Path) -> None:
        fresh = file.with_suffix(".new")
        with suppress(OSError):  # a full disk: it is learned again
            fresh.write_bytes(msgspec.json.format(msgspec.json.encode(self._known)))
            fresh.replace(file)


def _pixels(image: bytes | None) -> tuple[str, ...]:
    """The size of a picture, to a factor of two, since most techniques cut it to the network's."""
    if image is None:
        return ()
    try:
        with Image.open(io.BytesIO(image)) as opened:
            width, height = opened.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):  # the worker will say so
        return ()
    return (f"pixels<2^{(width * height).bit_length()}",)


def _read(file: Path) -> dict[str, Need]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Need])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        logger.warning("%s: what runs need is learned anew: %s", file, error)
        return {}
