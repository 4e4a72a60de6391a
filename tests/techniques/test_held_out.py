from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from convscope_sdk.errors import InvalidImageSet
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.image_sets.image_set import ImageSet
from convscope_techniques.training.held_out import divided
from support.zoo import tiny


@pytest.fixture
def pictures(tmp_path: Path) -> ImageSet:
    for number in range(4):
        folder = tmp_path / ("cat" if number % 2 else "dog")
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40)).save(folder / f"{number}.png")
    return ImageSets({"pictures": tmp_path}).open("pictures", tiny())


def test_pictures_are_held_out_by_label_and_by_the_beginning_of_their_name(pictures: ImageSet) -> None:
    learnt, out = divided(pictures, ["cat", "dog/2"])
    assert [pictures.names[number] for number in learnt] == ["dog/0.png"]
    assert [pictures.names[number] for number in out] == ["cat/1.png", "cat/3.png", "dog/2.png"]


@pytest.mark.parametrize("held_out", [(), ("bird", "")])
def test_the_last_is_held_out_where_none_fits(pictures: ImageSet, held_out: tuple[str, ...]) -> None:
    assert divided(pictures, held_out) == ([0, 1, 2], [3])


def test_a_set_of_which_nothing_is_left_is_refused(pictures: ImageSet) -> None:
    with pytest.raises(InvalidImageSet, match="no picture to learn from"):
        divided(pictures, ["cat", "dog"])
