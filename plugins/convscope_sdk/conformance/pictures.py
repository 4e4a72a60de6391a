"""The odd pictures: small, made on the spot, each odd in its own way."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from convscope_sdk.image_sets.spec import CLASS, ImageSetEntry, ImageSetSpec
from convscope_sdk.images import ImageLike

__all__ = ["ODD_PICTURES", "FewPictures", "photograph"]

_EXIF_ORIENTATION = 0x0112
_TURNED = 6


def photograph(width: int = 48, height: int = 40) -> Image.Image:
    """Something like a photograph: gradients, an edge and a little seeded noise."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1), 255 * (x > width / 2))
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(channels, -1) + noise, 0, 255).astype(np.uint8))


def _file(picture: Image.Image | None = None, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (picture or photograph()).save(buffer, kind, **options)
    return buffer.getvalue()


def _turned() -> bytes:
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = _TURNED
    return _file(kind="JPEG", exif=exif)


def _animated() -> bytes:
    return _file(kind="GIF", save_all=True, append_images=[photograph().rotate(90)])


def _deep() -> bytes:
    return _file(Image.fromarray(np.linspace(0, 65535, 40 * 48, dtype=np.uint16).reshape(40, 48)))


def _cut_off() -> bytes:
    whole = _file(photograph(128, 128), "JPEG")
    return whole[: len(whole) // 2]


ODD_PICTURES: Mapping[str, Callable[[], ImageLike]] = {
    "black": lambda: Image.new("RGB", (40, 40), "black"),
    "white": lambda: Image.new("RGB", (40, 40), "white"),
    "one colour": lambda: Image.new("RGB", (40, 40), (90, 140, 30)),
    "checkerboard": lambda: (np.indices((40, 40)).sum(0) % 2 * 255).astype(np.uint8),
    "1x1": lambda: photograph(1, 1),
    "very wide": lambda: photograph(400, 3),
    "very tall": lambda: photograph(3, 400),
    "grey": lambda: _file(photograph().convert("L")),
    "one bit": lambda: _file(photograph().convert("1")),
    "palette": lambda: _file(photograph().convert("P")),
    "see-through": lambda: _file(Image.new("RGBA", (40, 40), (255, 0, 0, 0))),
    "CMYK": lambda: _file(photograph().convert("CMYK"), "JPEG"),
    "16 bits": _deep,
    "turned by EXIF": _turned,
    "animated": _animated,
    "array in a batch": lambda: np.asarray(photograph(), np.float64) / 255,
    "cut off": _cut_off,
    "no picture": lambda: b"this is not a picture",
    "nothing": lambda: b"",
}
"""Pictures, by what is odd about them, that a technique must get through or refuse with a typed error."""


class FewPictures:
    """A source of image sets with one set, "conformance": six small pictures of three classes, in memory."""

    name = "conformance"

    def entries(self) -> Iterator[ImageSetEntry]:
        """The one set."""
        yield ImageSetEntry("conformance", "six small pictures of three classes")

    def spec(self, name: str) -> ImageSetSpec | None:
        """The one set, where it is asked for."""
        if name != self.name:
            return None
        labels = ["left", "right", "middle"] * 2
        names = [f"{label}/{number}" for number, label in enumerate(labels)]
        return ImageSetSpec(name, self.name, names, _member, labels={CLASS: labels})


def _member(number: int) -> Image.Image:
    return photograph(40 + number, 48 - number)
