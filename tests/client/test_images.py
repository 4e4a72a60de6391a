from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convscope.errors import InvalidArgument
from convscope.images import encode_image, is_digest


class Tensor:
    """What the client knows of a torch tensor."""

    def __init__(self, array: Any) -> None:
        self._array = np.asarray(array)

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        return self._array


def decoded(content: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    Image.new("RGB", (8, 8)).save(path)
    assert encode_image(path) == encode_image(str(path)) == encode_image(path.read_bytes()) == path.read_bytes()


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([(), (1,), (3,), (4,)]), st.randoms(use_true_random=False))
def test_bytes_of_an_array_arrive_as_they_are(height: int, width: int, channels: tuple[int, ...], rng: Any) -> None:
    array = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (height, width, *channels), np.uint8)
    np.testing.assert_array_equal(decoded(encode_image(array)), array[:, :, 0] if channels == (1,) else array)


def test_floats_are_scaled_and_rounded() -> None:
    array = np.array([[0.0, 0.5, 1.0]], np.float64)
    np.testing.assert_array_equal(decoded(encode_image(array)), [[0, 128, 255]])


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 3, 4, 5)])
def test_a_tensor_has_its_channels_first(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(decoded(encode_image(Tensor(array))), array.reshape(3, 4, 5).transpose(1, 2, 0))


def test_a_rotated_photograph_arrives_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (30, 10)).save(file, "JPEG", exif=exif)
    assert decoded(encode_image(Image.open(file))).shape == (30, 10, 3)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "F", "I", "I;16", "PA"]
)
def test_every_mode_of_pillow_can_be_sent(mode: str) -> None:
    picture = Image.new("L", (4, 4), 7).convert("P").convert(mode) if mode == "PA" else Image.new(mode, (4, 4))
    assert decoded(encode_image(picture)).shape[:2] == (4, 4)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("https://example.org/cat.jpg", "URL, which is never fetched"),
        ("no/such/file.png", "cannot read the picture 'no/such/file.png': No such file"),
        (np.zeros((2, 2, 7), np.uint8), r"\(H, W, 3\) or \(H, W, 4\), not \(2, 2, 7\)"),
        (np.zeros((0, 2), np.uint8), r"not \(0, 2\)"),
        (np.full((2, 2), 1.5), r"\[0, 1\], not \[1.5, 1.5\]"),
        (np.full((2, 2), np.nan), "not .nan, nan."),
        (np.zeros((2, 2), np.int64), "uint8 or floats in .0, 1., not int64"),
        (Tensor(np.zeros((2, 3, 4, 4))), r"\(3, H, W\) or \(1, H, W\), not \(2, 3, 4, 4\)"),
        (42, "cannot take int for a picture"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(picture: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        encode_image(picture)


def test_a_digest_is_told_from_a_path() -> None:
    assert is_digest("sha256:" + "0a" * 32)
    assert not any(map(is_digest, ["sha256:" + "0A" * 32, "sha256:00", "cat.jpg", b"x"]))
