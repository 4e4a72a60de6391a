from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from convscope_sdk.errors import InvalidImageSet, UnknownName
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_server.worker.torchvision_sets import TorchvisionSets
from support.image_sets import drained
from support.zoo import tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """FashionMNIST's test part, of three pictures."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pictures = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    for part in ("t10k", "train"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 3, 28, 28) + pictures.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 3) + bytes([9, 0, 9]))
    return tmp_path


def test_a_data_set_whose_files_are_there_is_an_image_set(root: Path) -> None:
    image_sets = ImageSets(sources=[TorchvisionSets(root)])
    image_set = image_sets.open("torchvision:FashionMNIST", tiny())
    assert list(image_set.names) == ["test/000000", "test/000001", "test/000002"]
    assert image_set.labels("class") == ["Ankle boot", "T-shirt/top", "Ankle boot"]
    index, _ = drained(image_set.index(["conv3"]))
    assert len(index) == 3
    again, _ = drained(image_sets.open("torchvision:FashionMNIST", tiny()).index(["conv3"]))
    assert again.reused
    assert image_sets.open("torchvision:FashionMNIST/train", tiny()).names[0] == "train/000000"


def test_a_data_set_whose_files_are_not_there_says_how_to_get_them(root: Path) -> None:
    with pytest.raises(InvalidImageSet, match=r"datasets\.CIFAR10\(.*download=True"):
        TorchvisionSets(root).spec("torchvision:CIFAR10")


@pytest.mark.parametrize(
    ("name", "near"), [("torchvision:CIFAR", "CIFAR10"), ("torchvision:MNIST/tests", "torchvision:MNIST/test")]
)
def test_an_unknown_data_set_or_part_gets_near_names(root: Path, name: str, near: str) -> None:
    with pytest.raises(UnknownName) as refusal:
        TorchvisionSets(root).spec(name)
    assert near in refusal.value.metadata["near"]


def test_other_names_are_left_to_other_sources(root: Path) -> None:
    assert TorchvisionSets(root).spec("samples") is None
