from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convscope_sdk import InvalidImage
from convscope_sdk.images import check_header, open_image

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]


def encoded(picture: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, image_format, **options)
    return file.getvalue()


def pixel(image: Any) -> tuple[int, ...]:
    found = open_image(image).picture.getpixel((0, 0))
    assert isinstance(found, tuple)
    return found


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def refused(image: Any, **options: Any) -> InvalidImage:
    with pytest.raises(InvalidImage) as refusal:
        open_image(image, **options)
    return refusal.value


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    return Image.fromarray(skimage.data.chelsea())


# Files.


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_header_of_every_allowed_format_is_read(image_format: str) -> None:
    header = check_header(encoded(Image.new("RGB", (7, 5), (200, 30, 30)), image_format))
    assert (header.width, header.height, header.format, header.animated) == (7, 5, image_format, False)


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_allowed_format_is_opened(image_format: str) -> None:
    opened = open_image(encoded(Image.new("RGB", (7, 5), (200, 30, 30)), image_format))
    assert (opened.picture.mode, opened.picture.size, opened.notes) == ("RGB", (7, 5), ())
    assert np.abs(np.subtract(pixel(opened.picture), (200, 30, 30))).max() <= 3


@pytest.mark.parametrize("image_format", ["PPM", "PDF", "ICO", "DDS"])
def test_other_formats_are_refused_even_where_pillow_reads_them(image_format: str) -> None:
    data = encoded(Image.new("RGB", (32, 32)), image_format)
    for check in (check_header, open_image):
        with pytest.raises(InvalidImage, match="PNG, JPEG") as refusal:
            check(data)
        assert refusal.value.reason in {"IMAGE_FORMAT", "IMAGE_UNREADABLE"}


def test_a_known_format_that_is_not_read_is_told_apart_from_rubbish() -> None:
    assert refused(encoded(Image.new("RGB", (4, 4)), "PPM")).reason == "IMAGE_FORMAT"
    assert refused(b"<?xml version='1.0'?><svg/>").reason == "IMAGE_FORMAT"
    assert refused(b"hello").reason == "IMAGE_UNREADABLE"
    assert refused(b"").reason == "IMAGE_UNREADABLE"


def test_pixels_are_counted_before_anything_is_decoded() -> None:
    for size in ((10_000, 10_000), (60_000, 60_000)):  # where Pillow would warn, and where it would raise
        with pytest.raises(InvalidImage, match="scale it down") as refusal:
            check_header(bomb(*size))
        assert refusal.value.reason == "IMAGE_TOO_MANY_PIXELS"
        assert refusal.value.metadata == {
            "width": str(size[0]),
            "height": str(size[1]),
            "max_pixels": "50000000",
        }


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_limit_of_pixels_holds_for_every_format(image_format: str) -> None:
    data = encoded(Image.new("RGB", (20, 10)), image_format)
    assert check_header(data, max_pixels=200).width == 20
    with pytest.raises(InvalidImage) as refusal:
        check_header(data, max_pixels=199)
    assert refusal.value.reason == "IMAGE_TOO_MANY_PIXELS"


def test_the_limit_of_pixels_holds_for_pictures_and_arrays_too() -> None:
    for image in (Image.new("RGB", (20, 10)), np.zeros((10, 20, 3), np.uint8), torch.zeros(3, 10, 20)):
        assert refused(image, max_pixels=199).reason == "IMAGE_TOO_MANY_PIXELS"


def test_a_limit_above_pillows_own_is_honoured_without_a_warning() -> None:
    assert check_header(bomb(10_000, 10_000), max_pixels=10**9).width == 10_000


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "TIFF"])
def test_a_truncated_file_is_refused(cat: Image.Image, image_format: str) -> None:
    data = encoded(cat, image_format)
    error = refused(data[: len(data) // 2])
    assert error.reason == "IMAGE_TRUNCATED" or (image_format == "TIFF" and error.reason == "IMAGE_UNREADABLE")


@pytest.mark.parametrize("image_format", FORMATS)
@settings(deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_opened_or_refused_but_never_crashes(image_format: str, data: st.DataObject) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (9, 11, 3), dtype=np.uint8)
    damaged = bytearray(encoded(Image.fromarray(noise), image_format))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for attempt in (bytes(damaged), bytes(damaged[:cut])):
        try:
            check_header(attempt)
            open_image(attempt)
        except InvalidImage as refusal:
            assert refusal.reason.startswith("IMAGE_"), refusal  # noqa: PT017 - opening it is as good


def test_rotation_by_exif_is_applied(cat: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise to be seen upright
    opened = open_image(encoded(cat, "PNG", exif=exif, comment="at home")).picture
    assert opened.info == {}
    assert opened == cat.transpose(Image.Transpose.ROTATE_270)


def test_the_first_frame_of_an_animation_is_used_and_said_so() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "green", "blue")]
    for image_format in ("GIF", "WEBP", "TIFF", "PNG"):
        data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
        assert check_header(data).animated
        opened = open_image(data)
        assert "several frames; frame 1 was used" in opened.notes[0]
        red, green, blue = pixel(opened.picture)
        assert red > 240
        assert max(green, blue) < 15


def test_of_a_camera_file_with_several_pictures_the_main_one_is_used(cat: Image.Image) -> None:
    data = encoded(cat, "MPO", save_all=True, append_images=[cat.resize((20, 20))])
    assert check_header(data).format == "JPEG"
    assert open_image(data).picture.size == cat.size


def test_a_tile_larger_than_the_limit_is_refused_however_small_the_picture() -> None:
    sizes = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sizes.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(sizes)) + entries + bytes(4)
    assert check_header(data, max_pixels=10**10).width == 8
    with pytest.raises(InvalidImage) as refusal:
        check_header(data)
    assert refusal.value.reason == "IMAGE_TOO_MANY_PIXELS"


def _many_directories(count: int) -> bytes:
    """A TIFF of one grey pixel, said over and over."""
    tags = [(256, 3, 1), (257, 3, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 1)]
    entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in [*tags, (279, 4, 1)]]
    size = 2 + 12 * len(entries) + 4
    nexts = [8 + size * (place + 1) for place in range(count - 1)] + [0]
    directory = struct.pack("<H", len(entries)) + b"".join(entries)
    return b"II*\0" + struct.pack("<I", 8) + b"".join(directory + struct.pack("<I", place) for place in nexts)


def _many_markers(kind: int, payload: bytes, count: int) -> bytes:
    """A JPEG with the same segment in front, again and again."""
    picture = encoded(Image.new("RGB", (7, 5)), "JPEG")
    segment = bytes([0xFF, kind]) + struct.pack(">H", len(payload) + 2) + payload
    return picture[:2] + segment * count + picture[2:]


@pytest.mark.parametrize(
    ("data", "animated"),
    [
        (_many_directories(100_000), True),
        (_many_markers(0xE1, b"Exif\0\0" + bytes(65_000), 1500), None),
        (_many_markers(0xFE, b"", 10_000_000), None),
        (b"GIF89a\1\0\1\0\x80\0\0" + bytes(6) + b"!\xfe\1c\0" * 10_000_000, None),
    ],
    ids=["TIFF directories", "Exif blocks", "comments", "GIF comments"],
)
def test_a_header_without_end_costs_no_time(data: bytes, animated: bool | None) -> None:
    began = time.process_time()
    if animated is None:
        with pytest.raises(InvalidImage, match="does not end within"):
            check_header(data)
    else:
        assert check_header(data).animated is animated
    assert time.process_time() - began < 3  # minutes, or hours, by counting to the end


def test_a_picture_of_one_pixel_is_a_picture() -> None:
    assert open_image(encoded(Image.new("RGB", (1, 1), "red"))).picture.size == (1, 1)


# Modes.


def test_transparency_is_laid_on_white_and_said_so() -> None:
    for picture in (Image.new("RGBA", (2, 2), (255, 0, 0, 0)), Image.new("LA", (2, 2), (0, 0))):
        opened = open_image(encoded(picture))
        assert pixel(opened.picture) == (255, 255, 255)
        assert "white" in opened.notes[0]
    half = open_image(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))
    assert pixel(half.picture) == (127, 127, 127)


def test_transparency_of_a_palette_is_laid_on_white() -> None:
    picture = Image.new("P", (2, 2), 0)
    picture.putpalette([9, 9, 9, 200, 0, 0])
    assert pixel(encoded(picture, "GIF", transparency=0)) == (255, 255, 255)
    assert pixel(encoded(picture, "PNG")) == (9, 9, 9)


def test_an_opaque_alpha_channel_changes_nothing_and_is_not_mentioned() -> None:
    opened = open_image(Image.new("RGBA", (2, 2), (1, 2, 3, 255)))
    assert (pixel(opened.picture), opened.notes) == ((1, 2, 3), ())


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV"])
def test_every_mode_of_pillow_becomes_rgb(cat: Image.Image, mode: str) -> None:
    opened = open_image(cat.convert(mode)).picture
    assert opened.mode == "RGB"
    assert opened == cat.convert(mode).convert("RGB")


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    for image in (
        values,
        Image.fromarray(values),
        encoded(Image.fromarray(values)),
        encoded(Image.fromarray(values), "TIFF"),
    ):
        assert np.asarray(open_image(image).picture)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_sixteen_bits_are_read_in_either_order_of_bytes() -> None:
    assert pixel(Image.frombytes("I;16B", (1, 1), b"\x80\x01")) == (128, 128, 128)
    assert pixel(Image.frombytes("I;16", (1, 1), b"\x01\x80")) == (128, 128, 128)


def test_whole_numbers_of_32_bits_are_read_as_16_bit_values_where_they_are() -> None:
    assert pixel(Image.new("I", (2, 2), 65535)) == (255, 255, 255)
    assert refused(Image.new("I", (2, 2), 70_000)).reason == "IMAGE_VALUES"


def test_float_pictures_are_read_in_zero_to_one() -> None:
    assert pixel(Image.new("F", (2, 2), 0.5)) == (128, 128, 128)
    assert "from 7 to 7" in str(refused(Image.new("F", (2, 2), 7)))


def test_the_callers_picture_stays_as_it_was(cat: Image.Image) -> None:
    before = cat.copy()
    opened = open_image(cat).picture
    opened.paste((0, 0, 0), (0, 0, 50, 50))
    assert cat == before


# Arrays.


def test_arrays_and_tensors_of_every_documented_form_are_the_same_picture(cat: Image.Image) -> None:
    array = np.asarray(cat)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    forms = [
        array,
        array / 255,
        (array / 255).astype(np.float32),
        array[::-1][::-1],
        tensor,
        tensor[None],
        tensor / 255,
    ]
    assert all(open_image(form).picture == cat for form in forms)


def test_grey_arrays_are_pictures() -> None:
    for image in (np.full((4, 5), 9, np.uint8), np.full((4, 5, 1), 9, np.uint8), torch.full((1, 4, 5), 9 / 255)):
        assert (pixel(image), open_image(image).picture.size) == ((9, 9, 9), (5, 4))
    assert pixel(np.ones((2, 2), bool)) == (255, 255, 255)


def test_half_precision_and_gradients_are_no_hindrance() -> None:
    assert pixel(torch.full((3, 2, 2), 1.0, dtype=torch.bfloat16)) == (255, 255, 255)
    assert pixel(torch.full((3, 2, 2), 0.5, requires_grad=True)) == (128, 128, 128)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 1.0), (0.0, 255.0), (0.0, 1.01)])
def test_floats_outside_zero_to_one_are_refused_with_their_range(low: float, high: float) -> None:
    error = refused(np.array([[low, high]]))
    assert error.reason == "IMAGE_VALUES"
    assert f"from {low:g} to {high:g}" in str(error)


def test_floats_beyond_one_by_rounding_are_taken_for_one() -> None:
    assert pixel(np.full((2, 2), 1 + 1e-6)) == (255, 255, 255)


@pytest.mark.parametrize(
    "array",
    [np.full((2, 2), np.nan), np.full((2, 2), np.inf), np.full((2, 2), 3), np.full((2, 2), 1j), np.full((2, 2), "a")],
)
def test_values_that_are_no_pixels_are_refused(array: np.ndarray[Any, Any]) -> None:
    assert refused(array).reason == "IMAGE_VALUES"


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((3, 8, 8)),
        np.zeros(4),
        np.zeros((0, 4, 3)),
        torch.zeros(8, 8, 3),
        torch.zeros(2, 3, 8, 8),
        torch.zeros(8, 8),
    ],
)
def test_arrays_of_another_shape_are_refused_with_what_is_allowed(image: Any) -> None:
    error = refused(image)
    assert error.reason == "IMAGE_SHAPE"
    assert "H, W" in str(error)


# Paths.


def test_a_picture_is_read_from_a_path(tmp_path: Path, cat: Image.Image) -> None:
    path = tmp_path / "cat.png"
    cat.save(path)
    assert open_image(path).picture == open_image(str(path)).picture == cat


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.png", tmp_path, "a\0b"):
        error = refused(path)
        assert error.reason == "IMAGE_NOT_FOUND"
        assert repr(str(path)) in str(error)


@pytest.mark.parametrize("url", ["https://example.org/cat.png", "file:///etc/passwd", "data:image/png;base64,AAAA"])
def test_addresses_are_refused_not_fetched(url: str) -> None:
    assert refused(url).reason == "IMAGE_URL"


def test_anything_else_is_refused_by_its_type() -> None:
    assert "not list" in str(refused([[1, 2], [3, 4]]))
