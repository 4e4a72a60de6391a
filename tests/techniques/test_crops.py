from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convscope_sdk.errors import InvalidImageSet
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_techniques.training.crops import Crops
from support.zoo import tiny


@pytest.fixture
def pictures(tmp_path: Path) -> ImageSet:
    across = np.broadcast_to(np.linspace(0, 255, 90), (60, 90)).astype(np.uint8)
    Image.fromarray(np.stack([across] * 3, -1)).save(tmp_path / "ramp.png")
    Image.new("RGB", (70, 80), (255, 0, 0)).save(tmp_path / "red.png")
    return ImageSets({"mine": tmp_path}).open("mine", tiny())


def drawn(pictures: ImageSet, numbers: list[int], count: int = 24, **changes: float) -> torch.Tensor:
    taken = {"smallest": 0.25, "enlarged": 4 / 3} | changes
    return Crops(pictures, numbers, 24, **taken).batch(count, np.random.default_rng(0))


def test_they_are_of_the_pictures_asked_for_and_of_one_size(pictures: ImageSet) -> None:
    red = pictures.names.index("red.png")
    crops = drawn(pictures, [red])
    assert crops.shape == (24, 3, 24, 24)
    assert torch.equal(crops, torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand_as(crops))


def test_they_differ_in_place_scale_and_direction_and_are_what_the_generator_gives(pictures: ImageSet) -> None:
    crops = drawn(pictures, [pictures.names.index("ramp.png")])[:, 0, 12]
    spans = (crops[:, -1] - crops[:, 0]).abs()
    assert (crops[:, 0] < crops[:, -1]).float().mean() not in {0, 1}
    assert spans.max() > 1.5 * spans.min()
    assert spans.max() <= 60 / 90 + 0.02
    assert torch.equal(crops, drawn(pictures, [pictures.names.index("ramp.png")])[:, 0, 12])


def test_a_crop_is_not_enlarged_by_more_than_a_third(pictures: ImageSet) -> None:
    crops = drawn(pictures, [pictures.names.index("ramp.png")], smallest=0.01)[:, 0, 12]
    assert (crops[:, -1] - crops[:, 0]).abs().min() > 0.9 * 18 / 90


def test_a_crop_is_not_reduced_by_more_than_is_said(tmp_path: Path) -> None:
    ramp = np.tile(2 * np.arange(128, dtype=np.uint8)[None, :, None], (128, 1, 3))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    pictures = ImageSets({"ramps": tmp_path}).open("ramps", tiny())
    batch = Crops(pictures, [0], 32, reduced=3).batch(40, np.random.default_rng(0))
    slopes = (batch[:, 0, 0, -1] - batch[:, 0, 0, 0]) * 255 / 31
    assert 1.9 < float(slopes.abs().min()) < 3
    assert 5 < float(slopes.abs().max()) < 6.1
    assert float(slopes.min()) < 0 < float(slopes.max())  # some are turned left to right


def test_the_first_picture_is_the_first_that_can_be_read(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30), (0, 0, 255)).save(tmp_path / "blue.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pictures = ImageSets({"mine": tmp_path}).open("mine", tiny())
    numbers = [pictures.names.index(name) for name in ("broken.png", "blue.png")]
    assert Crops(pictures, numbers, 24).first().getpixel((0, 0)) == (0, 0, 255)
    with pytest.raises(InvalidImageSet, match="can be read"):
        Crops(pictures, numbers[:1], 24).first()


def test_colours_change_only_where_asked(pictures: ImageSet) -> None:
    ramp = [pictures.names.index("ramp.png")]
    plain, coloured = drawn(pictures, ramp), drawn(pictures, ramp, colour=0.3)
    assert torch.equal(plain[:, 0], plain[:, 2])
    assert not torch.allclose(coloured[:, 0], coloured[:, 2], atol=0.02)
    assert 0 <= coloured.min() <= coloured.max() <= 1


def test_a_picture_that_cannot_be_read_is_passed_over_and_a_set_of_them_refused(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30), (0, 0, 255)).save(tmp_path / "blue.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pictures = ImageSets({"mine": tmp_path}).open("mine", tiny())
    crops = drawn(pictures, [0, 1], count=12)
    assert torch.equal(crops, torch.tensor([0, 0, 1.0]).view(1, 3, 1, 1).expand_as(crops))
    with pytest.raises(InvalidImageSet, match="no picture of image set 'mine' can be read"):
        drawn(pictures, [pictures.names.index("broken.png")])


def test_a_large_picture_is_kept_reduced_and_looks_the_same(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 1200), (900, 1200)).astype(np.uint8)
    Image.fromarray(np.stack([ramp] * 3, -1)).save(tmp_path / "ramp.png", compress_level=1)
    pictures = ImageSets({"mine": tmp_path}).open("mine", tiny())
    crops = drawn(pictures, [0], count=16, smallest=0.5)[:, 0, 12]
    spans = (crops[:, -1] - crops[:, 0]).abs()
    assert 0.9 * 0.5 * 900 / 1200 < spans.min() < spans.max() < 900 / 1200
