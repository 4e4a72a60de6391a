"""Pictures on their way to the server: from wherever the caller has them to the bytes of a file."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from convscope.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

__all__ = ["ImageLike", "encode_image"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_NEAREST_MODE = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA", "I": "I;16"}
_PNG_MODES = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})


class TensorLike(Protocol):
    """A torch tensor, for a client that does not need torch."""

    def detach(self) -> Any:
        """The tensor without its graph."""


ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | np.ndarray[Any, Any] | TensorLike"
"""A path, an encoded file, a Pillow picture, a NumPy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), a torch tensor
(3, H, W) or (1, H, W) — uint8, or floats in [0, 1] — or the digest of a file that the server has."""


def is_digest(image: object) -> bool:
    """Whether it is "sha256:" and 64 hexadecimal digits."""
    return isinstance(image, str) and _DIGEST.fullmatch(image) is not None


def encode_image(image: ImageLike) -> bytes:
    """The picture as an encoded file: a file as it is, anything else as PNG.

    Raises:
        InvalidArgument: it is a URL, a file that cannot be read, or no picture at all.
    """
    from PIL import Image

    if isinstance(image, str | os.PathLike):
        return _read_file(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, Image.Image):
        return _encode_picture(image)
    if hasattr(image, "detach"):
        return _encode_array(_channels_last(image.detach().cpu().numpy()))
    if hasattr(image, "__array__"):
        return _encode_array(image)
    kinds = "a path, bytes, a Pillow picture, a NumPy array or a torch tensor"
    raise InvalidArgument(f"cannot take {type(image).__name__} for a picture; give {kinds}")


def _read_file(path: str | os.PathLike[str]) -> bytes:
    if _URL.match(os.fspath(path)):
        raise InvalidArgument(f"{path} is a URL, which is never fetched for you: download it and give the file")
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read the picture {os.fspath(path)!r}: {error.strerror}") from error


def _encode_picture(picture: Image.Image) -> bytes:
    from PIL import ImageOps

    # A file's rotation lives in its EXIF data, which a PNG of the pixels would lose.
    upright = ImageOps.exif_transpose(picture)
    if upright.mode not in _PNG_MODES:
        upright = upright.convert(_NEAREST_MODE.get(upright.mode, "RGB"))
    file = io.BytesIO()
    upright.save(file, "PNG", compress_level=3)
    return file.getvalue()


def _channels_last(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.ndim == 4 and array.shape[0] == 1:  # noqa: PLR2004 - a batch of one
        array = array[0]
    if array.ndim == 2:  # noqa: PLR2004 - grey
        return array
    if array.ndim != 3 or array.shape[0] not in {1, 3}:  # noqa: PLR2004 - channels, rows, columns
        raise InvalidArgument(f"a tensor picture has the shape (3, H, W) or (1, H, W), not {tuple(array.shape)}")
    return array.transpose(1, 2, 0)


def _encode_array(image: Any) -> bytes:
    import numpy as np
    from PIL import Image

    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:  # noqa: PLR2004 - one channel is grey
        array = array[:, :, 0]
    grey, coloured = array.ndim == 2, array.shape[2:] in {(3,), (4,)}  # noqa: PLR2004 - rows and columns alone
    if array.size == 0 or not (grey or coloured):
        shapes = "(H, W), (H, W, 3) or (H, W, 4)"
        raise InvalidArgument(f"an array picture has the shape {shapes}, not {array.shape}")
    return _encode_picture(Image.fromarray(np.ascontiguousarray(_to_bytes(array))))


def _to_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise InvalidArgument(f"an array picture is uint8 or floats in [0, 1], not {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0.0 and high <= 1.0):  # NaN is refused here as well.
        raise InvalidArgument(f"a float picture has values in [0, 1], not [{low:.4g}, {high:.4g}]")
    return np.rint(array * 255.0).astype(np.uint8)
