"""Pictures, arrays and tables as bytes."""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from convscope_sdk.render import Rendered
from convscope_server.engine.messages import PreviewOptions
from convscope_server.runs.events import Artifact

__all__ = ["preview_artifact", "result_artifact"]

# Filtered photographs have runs and little else to find: run-length matching takes a third of the time of zlib's
# default search and gives the same size.
_PNG: Mapping[str, int] = {"compress_level": 1, "compress_type": zlib.Z_RLE}
_PREVIEW_OPTIONS: Mapping[str, dict[str, Any]] = {
    "jpeg": {"quality": 85},
    "png": dict(_PNG),
    "webp": {"quality": 80, "method": 1},
}


def result_artifact(rendered: Rendered, *, step: int = 0) -> Artifact:
    """A result as an artifact with its content: PNG, npy, JSON or UTF-8 text, which may be a page.

    Raises:
        TypeError: a table holds values that JSON has not.
    """
    width = height = 0
    if rendered.kind == "image":
        assert isinstance(rendered.value, Image.Image)
        width, height = rendered.value.size
        media_type, content = "image/png", _png(rendered.value)
    elif rendered.kind == "tensor":
        media_type, content = "application/x-npy", _npy(np.asarray(rendered.value))
    elif rendered.kind == "table":
        media_type, content = (
            "application/json",
            json.dumps(rendered.value, allow_nan=False, default=_plain).encode(),
        )
    else:
        media_type, content = rendered.media_type or "text/plain", str(rendered.value).encode()
    return Artifact(
        name=rendered.name,
        kind=rendered.kind,
        media_type=media_type,
        content=content,
        digest=_digest(content),
        size_bytes=len(content),
        caption=rendered.caption,
        width=width,
        height=height,
        value_range=rendered.value_range,
        step=step,
    )


def preview_artifact(picture: Image.Image, options: PreviewOptions, *, caption: str, step: int) -> Artifact:
    """A frame on the way, scaled down to the longest edge asked for."""
    if max(picture.size) > options.max_edge:
        picture = picture.copy()
        picture.thumbnail((options.max_edge, options.max_edge), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, format=options.format, **_PREVIEW_OPTIONS[options.format])
    content = buffer.getvalue()
    return Artifact(
        name="",
        kind="image",
        media_type=f"image/{options.format}",
        content=content,
        digest=_digest(content),
        size_bytes=len(content),
        caption=caption,
        width=picture.width,
        height=picture.height,
        step=step,
    )


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png", **_PNG)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _plain(value: Any) -> Any:
    """NumPy and torch scalars in a table as plain numbers."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a table holds plain numbers, strings and booleans, not {type(value).__name__}")
