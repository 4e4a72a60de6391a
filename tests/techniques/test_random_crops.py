from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from convscope_sdk.errors import InvalidImageSet
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_techniques.texture.random_crops import RandomCrops
from support.networks import PlainNet, network


@pytest.fixture
def pictures(tmp_path: Path) -> ImageSet:
    """Pictures of one colour each, by which they are known again; one cannot be read."""
    for number in range(5):
        folder = tmp_path / ("cat" if number % 2 else "dog")
        folder.mkdir(exist_ok=True)
        PIL.Image.new("RGB", (50 + number, 40), (50 * number, 0, 0)).save(folder / f"{number}.png")
    (tmp_path / "dog" / "broken.png").write_bytes(b"no picture")
    return ImageSets({"pictures": tmp_path}).open("pictures", network(PlainNet))


def reds(crops: RandomCrops, count: int = 60, seed: int = 0) -> set[int]:
    batch = crops.batch(count, np.random.default_rng(seed))
    assert batch.shape == (count, 3, 32, 32)
    return {round(float(crop[0].mean()) * 255 / 50) for crop in batch}


def test_every_readable_picture_is_drawn(pictures: ImageSet) -> None:
    crops = RandomCrops(pictures, 32, ["dog/0", "dog/broken"])
    assert reds(crops) == {1, 2, 3, 4}
    assert len(crops) == 4
    assert crops.shown.getpixel((0, 0)) == (0, 0, 0)
    assert reds(RandomCrops(pictures, 32, ["dog/0"])) == {1, 2, 3, 4}  # what cannot be read is passed over


def test_what_is_held_out_is_never_drawn(pictures: ImageSet) -> None:
    crops = RandomCrops(pictures, 32, ["cat"])
    assert reds(crops) == {0, 2, 4}
    assert crops.shown.getpixel((0, 0)) == (50, 0, 0)


def test_the_same_generator_gives_the_same_crops(pictures: ImageSet) -> None:
    first, second = (RandomCrops(pictures, 32, ["cat"]).batch(8, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_crops_are_smaller_parts_of_larger_pictures(tmp_path: Path) -> None:
    ramp = np.tile(2 * np.arange(128, dtype=np.uint8)[None, :, None], (128, 1, 3))
    for number in range(2):
        PIL.Image.fromarray(ramp).save(tmp_path / f"{number}.png")
    pictures = ImageSets({"ramps": tmp_path}).open("ramps", network(PlainNet))
    batch = RandomCrops(pictures, 32).batch(40, np.random.default_rng(0))
    slopes = (batch[:, 0, 0, -1] - batch[:, 0, 0, 0]) * 255 / 31
    assert 1.9 < float(slopes.abs().min()) < 3
    assert 5 < float(slopes.abs().max()) < 6.1
    assert float(slopes.min()) < 0 < float(slopes.max())  # some are turned left to right


def test_pictures_that_can_none_be_read_are_refused(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    pictures = ImageSets({"broken": tmp_path}).open("broken", network(PlainNet))
    with pytest.raises(InvalidImageSet, match="can be read"):
        RandomCrops(pictures, 32)
