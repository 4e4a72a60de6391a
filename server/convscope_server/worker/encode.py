"""Pictures, arrays and tables as bytes."""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from convscope_sdk.encoding import HOST_MEDIA_TYPES
from convscope_sdk.render import Rendered
from convscope_server.engine.blame import EncoderAuthor
from convscope_server.engine.messages import PreviewOptions
from convscope_server.errors import looked_up
from convscope_server.runs.events import Artifact

if TYPE_CHECKING:
    from convscope_sdk.events import ResultKind
    from convscope_sdk.loader import LoadedEncoder

__all__ = ["EncodingError", "encoders_for", "preview_artifact", "result_artifact"]

# Filtered photographs have runs and little else to find: run-length matching takes a third of the time of zlib's
# default search and gives the same size.
_PNG: Mapping[str, int] = {"compress_level": 1, "compress_type": zlib.Z_RLE}
_PREVIEW_OPTIONS: Mapping[str, dict[str, Any]] = {
    "jpeg": {"quality": 85},
    "png": dict(_PNG),
    "webp": {"quality": 80, "method": 1},
}


class EncodingError(Exception):
    """A plugin's encoder failed: `cause` says how, `author` whose it is."""

    def __init__(self, author: EncoderAuthor, cause: BaseException) -> None:
        super().__init__(f"{author} failed")
        self.author = author
        self.cause = cause


def encoders_for(media_types: Iterable[str], encoders: Mapping[str, LoadedEncoder]) -> dict[ResultKind, LoadedEncoder]:
    """Which of the plugins' encoders write a run's results, by kind, where that is not the host.

    Args:
        media_types: What the run asks for.
        encoders: All that there are, by media type.

    Raises:
        RequestError: nobody writes such files here.
    """
    chosen: dict[ResultKind, LoadedEncoder] = {}
    for media_type in media_types:
        if media_type not in HOST_MEDIA_TYPES:
            loaded = looked_up("artifact encoder", media_type, encoders)
            chosen[loaded.encoder.kind] = loaded
    return chosen


def result_artifact(rendered: Rendered, *, step: int = 0, by: LoadedEncoder | None = None) -> Artifact:
    """A result as an artifact with its content: PNG, npy, JSON or UTF-8 text, which may be a page.

    Args:
        rendered: What to encode.
        step: At which it was made.
        by: The plugin's encoder that writes it instead.

    Raises:
        TypeError: a table holds values that JSON has not.
        EncodingError: the plugin's encoder failed.
    """
    width, height = rendered.value.size if isinstance(rendered.value, Image.Image) else (0, 0)
    media_type, content = _by_host(rendered) if by is None else _by_plugin(rendered, by)
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


def _by_plugin(rendered: Rendered, by: LoadedEncoder) -> tuple[str, bytes]:
    media_type = by.encoder.media_type
    author = EncoderAuthor(media_type, by.package, by.version)
    try:
        content: object = by.encoder.encode(rendered)
    except (Exception, SystemExit) as error:
        raise EncodingError(author, error) from error
    if not isinstance(content, bytes):
        raise EncodingError(author, TypeError(f"an encoder gives bytes, not {type(content).__name__}"))
    return media_type, content


def _by_host(rendered: Rendered) -> tuple[str, bytes]:
    if rendered.kind == "image":
        assert isinstance(rendered.value, Image.Image)
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
    return media_type, content


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
