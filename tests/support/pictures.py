"""Encoded pictures of every awkward kind, small and made on the spot."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["ODD_PICTURES", "bomb", "encoded", "photo", "truncated"]


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """A smooth colour gradient: something that compresses, and is not constant."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1), (x + y) % 256)
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def encoded(picture: Image.Image | None = None, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    (picture or photo()).save(buffer, kind, **options)
    return buffer.getvalue()


def truncated() -> bytes:
    """A JPEG whose header is whole and whose second half is missing."""
    whole = encoded(photo(256, 256), "JPEG")
    return whole[: len(whole) // 2]


def bomb(edge: int = 20_000) -> bytes:
    """A valid black PNG of edge by edge pixels, one bit each, in some ten thousand bytes."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (edge + 7) // 8)
    rows = [packer.compress(row * 100) for _ in range(edge // 100)]
    body = b"".join(rows) + packer.flush()
    header = struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(kind="JPEG", exif=exif)


def _animated() -> bytes:
    return encoded(photo(), "GIF", save_all=True, append_images=[photo().rotate(90), photo().rotate(180)])


def _deep() -> bytes:
    return encoded(Image.fromarray(np.linspace(0, 65535, 64 * 48, dtype=np.uint16).reshape(48, 64)))


ODD_PICTURES = {
    "CMYK": lambda: encoded(photo().convert("CMYK"), "JPEG"),
    "16 bits": _deep,
    "palette": lambda: encoded(photo().convert("P")),
    "grey with alpha": lambda: encoded(photo().convert("LA")),
    "one bit": lambda: encoded(photo().convert("1")),
    "animated": _animated,
    "EXIF rotation": _rotated,
    "1x1": lambda: encoded(photo(1, 1)),
    "WebP": lambda: encoded(kind="WEBP"),
    "BMP": lambda: encoded(kind="BMP"),
    "TIFF": lambda: encoded(kind="TIFF"),
}
"""Pictures that must simply work, by what is odd about them."""
