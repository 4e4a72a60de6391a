"""Pictures on their way in: checked before they are decoded, made 8-bit RGB, brought to a network's size.

Files pass an allow-list of decoders, and their pixels are counted from the header alone. Imports no torch, so
that a front end can check what it is sent.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from convscope_sdk.errors import InvalidImage
from convscope_sdk.models import Interpolation, ModelSpec
from convscope_sdk.params import Fit

if TYPE_CHECKING:
    import torch

__all__ = [
    "MAX_PIXELS",
    "ImageHeader",
    "ImageLike",
    "OpenedImage",
    "check_header",
    "fit_image",
    "open_image",
    "to_tensor",
]

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.generic] | torch.Tensor"
"""What a picture may be given as: a path, an encoded file's bytes, a PIL image or an array."""

MAX_PIXELS = 50_000_000
"""Most pixels that a picture may have unless the host says otherwise."""

_FORMATS = "PNG, JPEG, WEBP, GIF, BMP or TIFF"
# Decoders are called by signature, not through Image.open: its pixel limit is a process-wide setting that
# warns where ours refuses, and it hands multi-picture JPEGs to a decoder that is not on this list.
_DECODERS: tuple[tuple[re.Pattern[bytes], str, type[ImageFile.ImageFile]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG", PngImagePlugin.PngImageFile),
    (re.compile(rb"\xff\xd8\xff"), "JPEG", JpegImagePlugin.JpegImageFile),
    (re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL), "WEBP", WebPImagePlugin.WebPImageFile),
    (re.compile(rb"GIF8[79]a"), "GIF", GifImagePlugin.GifImageFile),
    (re.compile(rb"BM"), "BMP", BmpImagePlugin.BmpImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "TIFF", TiffImagePlugin.TiffImageFile),
)
_OTHER_FORMATS = re.compile(
    rb"....ftyp(?:hei|mif|avi)|%PDF|%!PS|8BPS|\s*<(?:\?xml|svg)|P[1-7]\s|\0\0\0\x0cjP|\xffO\xffQ|\0\0\x01\0|qoif",
    re.DOTALL,
)
T = TypeVar("T")

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:")

_RESAMPLING: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_PAD_GREY = (124, 116, 104)  # ImageNet's mean colour
_WHITE = (255, 255, 255)
# Formats whose size stands in front, and within how many bytes: marker after marker can be made to take minutes.
_HEADER_FIRST = {"PNG", "JPEG", "GIF", "BMP"}
_MOST_HEADER_BYTES = 2 * 2**20
_SMALLEST_EDGE = 16
_MOST_RESIZED_PIXELS = 64_000_000
_SLACK = 1 / 512  # of a float picture beyond [0, 1]: less than rounding to 8 bits does to it
_MAX_BYTE = 255
_MAX_WORD = 65535


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a file says of itself: pixels as stored (before EXIF rotation), format, and whether more frames follow."""

    width: int
    height: int
    format: str
    animated: bool


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A picture as 8-bit RGB, and what was done to it that the reader of a result should know."""

    picture: Image.Image
    notes: tuple[str, ...] = ()


def check_header(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """What an encoded picture's header says, without decoding a pixel, in a time that its sender cannot choose.

    Raises:
        InvalidImage: IMAGE_FORMAT for a format other than PNG, JPEG, WEBP, GIF, BMP and TIFF,
            IMAGE_UNREADABLE for what is no picture, IMAGE_TOO_MANY_PIXELS above `max_pixels`.
    """
    with _open_file(data, max_pixels, most=_MOST_HEADER_BYTES) as image:
        return ImageHeader(
            image.width, image.height, image.format or "", _decoding(lambda: _is_animated(image), "read")
        )


def open_image(image: ImageLike, *, max_pixels: int = MAX_PIXELS) -> OpenedImage:
    """The picture as 8-bit RGB, upright, transparency laid on white, the first frame of several.

    Deep pictures are scaled to 8 bits (16-bit values lose their low byte), colour profiles are ignored.

    Args:
        image: Path; bytes of a PNG, JPEG, WEBP, GIF, BMP or TIFF file; PIL image; NumPy array (H, W, 3),
            (H, W, 4) or (H, W); torch tensor (3, H, W), (1, H, W) or one of them in a batch of one. Arrays
            hold uint8, or floats in [0, 1]. An address on the network is refused, never fetched.
        max_pixels: Most pixels it may have.

    Raises:
        InvalidImage: with reason IMAGE_NOT_FOUND, IMAGE_URL, IMAGE_UNREADABLE, IMAGE_FORMAT, IMAGE_TRUNCATED,
            IMAGE_TOO_MANY_PIXELS, IMAGE_SHAPE, IMAGE_VALUES or IMAGE_TYPE.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        with _open_file(bytes(image), max_pixels) as file:
            return _from_pil(file)
    if isinstance(image, str | os.PathLike):
        return open_image(_read(os.fspath(image)), max_pixels=max_pixels)
    if isinstance(image, Image.Image):
        _check_pixels(image.size, max_pixels)
        return _from_pil(image)
    if isinstance(image, np.ndarray) or hasattr(image, "detach"):
        return _from_array(_hwc(image), max_pixels)
    raise InvalidImage(
        f"a picture is a path, bytes, a PIL image, a NumPy array or a tensor, not {type(image).__name__}",
        reason="IMAGE_TYPE",
    )


def fit_image(picture: Image.Image, spec: ModelSpec, *, fit: Fit, size: int | None) -> Image.Image:
    """The picture at a network's input size, resized by Pillow on 8-bit pixels, so the same on every machine.

    Args:
        picture: RGB, 8-bit.
        spec: Whose `interpolation`, `crop_fraction` and `input_size` are followed.
        fit: "crop" as torchvision's and timm's evaluation do: shorter edge to `size / crop_fraction`, centre
            cut out. "resize" to a square of `size`. "pad": longer edge to `size`, centred on grey. "keep":
            longer edge to `size`, the other in proportion, at least 16 px.
        size: Edge in pixels; the network's evaluation size where None.
    """
    edge = size or spec.input_size
    resampling = _RESAMPLING[spec.interpolation]
    if fit == "crop":
        # The slack keeps whole quotients whole: 224 / (224 / 232) is a hair below 232.
        return _crop(picture, edge, math.floor(edge / spec.crop_fraction + 1e-6), resampling)
    if fit == "resize":
        return picture.resize((edge, edge), resampling)
    scale = edge / max(picture.size)
    smallest = min(_SMALLEST_EDGE, edge) if fit == "keep" else 1
    width, height = (max(smallest, round(length * scale)) for length in picture.size)
    resized = picture.resize((width, height), resampling)
    if fit == "keep":
        return resized
    padded = Image.new("RGB", (edge, edge), _PAD_GREY)
    padded.paste(resized, ((edge - width) // 2, (edge - height) // 2))
    return padded


def to_tensor(picture: Image.Image, device: str | torch.device = "cpu") -> torch.Tensor:
    """The picture's 8-bit values ÷ 255 as a contiguous float32 tensor (1, 3, H, W) on `device`."""
    import torch

    pixels = torch.from_numpy(np.array(picture)).to(device)  # a copy: PIL's own buffer is read-only
    return pixels.permute(2, 0, 1).unsqueeze(0).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _crop(picture: Image.Image, edge: int, shorter: int, resampling: Image.Resampling) -> Image.Image:
    """Torchvision's Resize(shorter) and CenterCrop(edge), with their rounding."""
    short, long = sorted(picture.size)
    if shorter * shorter * long > _MOST_RESIZED_PIXELS * short:
        picture = _middle(picture, 2 * short)  # a strip: what the centre crop drops need not be enlarged first
        short, long = sorted(picture.size)
    longer = int(shorter * long / short)
    landscape = picture.width > picture.height
    width, height = (longer, shorter) if landscape else (shorter, longer)
    resized = picture.resize((width, height), resampling)
    left, top = round((width - edge) / 2.0), round((height - edge) / 2.0)
    return resized.crop((left, top, left + edge, top + edge))


def _middle(picture: Image.Image, length: int) -> Image.Image:
    """At least `length` pixels around the middle of both edges; the centre stays the centre."""
    x, y = (max(0, (edge - length) // 2) for edge in picture.size)
    return picture.crop((x, y, picture.width - x, picture.height - y))


def _open_file(data: bytes, max_pixels: int, *, most: int | None = None) -> ImageFile.ImageFile:
    """The file with its header read and its pixels counted; `most` bytes of it where they begin with the header."""
    found = next(((name, decoder) for magic, name, decoder in _DECODERS if magic.match(data)), None)
    if found is None:
        if _OTHER_FORMATS.match(data):
            raise InvalidImage(f"pictures of this format are not read; save it as {_FORMATS}", reason="IMAGE_FORMAT")
        raise InvalidImage(
            f"these {len(data):,} bytes are no picture; send the bytes of a {_FORMATS} file",
            reason="IMAGE_UNREADABLE",
        )
    name, decoder = found
    if name == "GIF":  # its decoder grows the screen to the first frame; the screen alone must fit already
        _check_pixels((int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")), max_pixels)
    image = _begun(decoder, name, data, most)
    try:
        _check_pixels(image.size, max_pixels)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            # One tile may be declared larger than the whole picture.
            tags = image.tag_v2
            edges = (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)
            width, height = _decoding(lambda: [int(tags.get(edge, 1)) for edge in edges], "read as TIFF")
            _check_pixels((width, height), max_pixels)
    except InvalidImage:
        image.close()
        raise
    return image


def _begun(decoder: type[ImageFile.ImageFile], name: str, data: bytes, most: int | None) -> ImageFile.ImageFile:
    """The decoder with the header read, of `most` bytes where the format has it in front."""
    if most is None or len(data) <= most or name not in _HEADER_FIRST:
        return _decoding(lambda: decoder(io.BytesIO(data)), f"read as {name}")
    try:
        return _decoding(lambda: decoder(io.BytesIO(data[:most])), f"read as {name}")
    except InvalidImage:
        raise InvalidImage(
            f"the header of this {name} file does not end within {most:,} bytes; save it again without metadata",
            reason="IMAGE_UNREADABLE",
        ) from None


def _decoding(step: Callable[[], T], doing: str) -> T:
    """What `step` gives; whatever a decoder raises becomes a refusal of the picture."""
    try:
        return step()
    except InvalidImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidImage(f"the picture is too large: {error}", reason="IMAGE_TOO_MANY_PIXELS") from None
    # The file's fault, or its decoder's: Pillow's decoders raise nearly everything.
    except Exception as error:  # noqa: BLE001 - see above
        words = str(error)
        truncated = isinstance(error, EOFError) or "truncated" in words.lower() or "data stream" in words
        advice = "send the whole file" if truncated else "open it in a viewer and save it again"
        raise InvalidImage(
            f"the picture cannot be {doing}: {words or type(error).__name__}; {advice}",
            reason="IMAGE_TRUNCATED" if truncated else "IMAGE_UNREADABLE",
        ) from None


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise InvalidImage(
            f"the picture has {width} by {height} pixels; {max_pixels:,} are allowed, scale it down first",
            reason="IMAGE_TOO_MANY_PIXELS",
            metadata={"width": str(width), "height": str(height), "max_pixels": str(max_pixels)},
        )


def _read(path: str) -> bytes:
    if _URL.match(path):
        raise InvalidImage(
            f"{path[:200]!r} is an address: pictures are never fetched; download it and give the file",
            reason="IMAGE_URL",
        )
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InvalidImage(f"there is no file {path!r}; check the path", reason="IMAGE_NOT_FOUND") from None
    except (OSError, ValueError) as error:  # a folder, no permission, a NUL byte
        raise InvalidImage(f"cannot read {path!r}: {error}", reason="IMAGE_NOT_FOUND") from None


def _from_pil(image: Image.Image) -> OpenedImage:
    notes = []
    # A PIL image of the caller's own shows the frame that he chose; a file shows its first.
    if isinstance(image, ImageFile.ImageFile) and _decoding(lambda: _is_animated(image), "read"):
        notes.append(f"the picture has several frames; frame {image.tell() + 1} was used")
    _decoding(image.load, "decoded")
    picture = _decoding(lambda: _eight_bit(_upright(image)), "converted to 8-bit RGB")
    if picture.has_transparency_data:
        picture, transparent = _on_white(picture)
        notes += ["transparent parts of the picture were laid on white"] * transparent
    picture = _decoding(lambda: picture.convert("RGB"), "converted to RGB")
    picture.info = {}  # pixels alone: no place, profile or comment of the file gets into a result
    return OpenedImage(picture, tuple(notes))


def _is_animated(image: Image.Image) -> bool:
    # Never n_frames: it goes through the whole file, and for TIFF takes time with the square of their number.
    return bool(getattr(image, "is_animated", False))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - the file's fault: a broken EXIF block must not cost the picture
        return image.copy()


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image)))
    return image


def _on_white(picture: Image.Image) -> tuple[Image.Image, bool]:
    rgba = picture.convert("RGBA")
    lowest, _ = rgba.getchannel("A").getextrema()
    background = Image.new("RGBA", rgba.size, (*_WHITE, 255))
    return Image.alpha_composite(background, rgba), lowest != _MAX_BYTE


def _hwc(image: Any) -> NDArray[Any]:
    """An array with channels last; tensors, which have them first, are told by their `detach`."""
    if not hasattr(image, "detach"):
        return np.asarray(image)
    tensor = image.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy has no bfloat16
    array = np.asarray(tensor.numpy())
    if array.ndim == 4 and array.shape[0] == 1:  # noqa: PLR2004 - a batch of one
        array = array[0]
    if array.ndim != 3 or array.shape[0] not in {1, 3}:  # noqa: PLR2004 - channels and two edges
        raise _shape_refused(tuple(tensor.shape), "(3, H, W), (1, H, W), or a batch of one")
    return np.moveaxis(array, 0, -1)


def _from_array(array: NDArray[Any], max_pixels: int) -> OpenedImage:
    if array.ndim == 3 and array.shape[-1] == 1:  # noqa: PLR2004 - one grey channel
        array = array[..., 0]
    if array.size == 0 or array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[-1] not in {3, 4}):  # noqa: PLR2004 - grey, RGB, RGBA
        raise _shape_refused(array.shape, "(H, W, 3), (H, W, 4) or (H, W)")
    _check_pixels((array.shape[1], array.shape[0]), max_pixels)
    return _from_pil(Image.fromarray(_eight_bits(array)))


def _shape_refused(shape: tuple[int, ...], allowed: str) -> InvalidImage:
    return InvalidImage(f"an array of shape {shape} is no picture; give {allowed}", reason="IMAGE_SHAPE")


def _eight_bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 of uint8, bool, 16-bit values (in any integer type), or floats in [0, 1]."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(_MAX_BYTE)
    if array.dtype.kind not in "iufc":
        raise InvalidImage(f"a picture holds uint8 or floats in [0, 1], not {array.dtype}", reason="IMAGE_VALUES")
    low, high = array.min(), array.max()
    if array.dtype.kind == "f" and low >= -_SLACK and high <= 1 + _SLACK:  # never so for NaN
        return np.asarray(np.rint(np.clip(array, 0, 1) * _MAX_BYTE), dtype=np.uint8)
    if array.dtype.kind + str(array.dtype.itemsize) == "u2" or (
        array.dtype == np.int32 and low >= 0 and high <= _MAX_WORD
    ):
        return np.asarray(array >> 8, dtype=np.uint8)
    raise InvalidImage(
        f"a picture holds uint8 or floats in [0, 1], not {array.dtype} from {low:g} to {high:g}; "
        f"scale it, or convert it with .astype('uint8')",
        reason="IMAGE_VALUES",
    )
