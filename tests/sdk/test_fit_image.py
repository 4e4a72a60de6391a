from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convscope_sdk import ModelSpec
from convscope_sdk.images import fit_image, open_image, to_tensor
from convscope_sdk.torchvision_ops import ensure_torchvision


def spec(**changes: Any) -> ModelSpec:
    return ModelSpec("m", "test", build=lambda: pytest.fail("nothing is built to fit a picture"), **changes)


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    return Image.fromarray(skimage.data.chelsea())


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize(("width", "height"), [(451, 300), (300, 451), (100, 33), (224, 224), (257, 256), (17, 900)])
def test_the_crop_equals_torchvisions_evaluation(interpolation: Any, width: int, height: int) -> None:
    ensure_torchvision()
    from torchvision import transforms

    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8))
    for size, shorter in ((224, 256), (224, 232), (299, 342), (33, 33)):
        by_torchvision = transforms.Compose(
            [
                transforms.Resize(shorter, transforms.InterpolationMode(interpolation)),
                transforms.CenterCrop(size),
            ]
        )(picture)
        ours = fit_image(
            picture, spec(interpolation=interpolation, crop_fraction=size / shorter), fit="crop", size=size
        )
        assert ours == by_torchvision


def test_the_crop_equals_timms_evaluation_for_every_fraction_that_timm_knows(cat: Image.Image) -> None:
    ensure_torchvision()
    import timm
    from timm.data import create_transform

    configs = [timm.get_pretrained_cfg(name) for name in timm.list_models(pretrained=True)]
    crops = {
        (c.input_size[-1], c.crop_pct) for c in configs if c.crop_pct and c.crop_pct <= 1 and c.crop_mode == "center"
    }
    assert len(crops) > 20
    picture = cat.resize((60, 40))
    for size, fraction in crops:
        resize, crop, *_ = create_transform((3, size, size), interpolation="bicubic", crop_pct=fraction).transforms
        ours = fit_image(picture, spec(interpolation="bicubic", crop_fraction=fraction), fit="crop", size=size)
        assert ours == crop(resize(picture)), (size, fraction)


def test_the_size_is_the_networks_own_unless_another_is_asked_for(cat: Image.Image) -> None:
    for fit in ("crop", "resize", "pad"):
        assert fit_image(cat, spec(input_size=96), fit=fit, size=None).size == (96, 96)
        assert fit_image(cat, spec(input_size=96), fit=fit, size=50).size == (50, 50)


def test_resize_gives_up_proportions(cat: Image.Image) -> None:
    fitted = fit_image(cat, spec(), fit="resize", size=64)
    assert fitted == cat.resize((64, 64), Image.Resampling.BICUBIC)


def test_pad_centres_the_whole_picture_on_grey(cat: Image.Image) -> None:
    fitted = fit_image(cat, spec(), fit="pad", size=90)
    inner = cat.resize((90, 60), Image.Resampling.BICUBIC)
    assert fitted.crop((0, 15, 90, 75)) == inner
    for row in (0, 14, 75, 89):
        assert fitted.getpixel((45, row)) == (124, 116, 104)


def test_keep_gives_the_longer_edge_and_keeps_proportions(cat: Image.Image) -> None:
    assert fit_image(cat, spec(), fit="keep", size=None).size == (224, 149)
    assert fit_image(cat.rotate(90, expand=True), spec(), fit="keep", size=100).size == (67, 100)


def test_keep_never_makes_an_edge_too_short_for_a_network() -> None:
    assert fit_image(Image.new("RGB", (1000, 3)), spec(), fit="keep", size=224).size == (224, 16)


@settings(deadline=None)
@given(
    st.integers(1, 600), st.integers(1, 600), st.sampled_from(["crop", "resize", "pad", "keep"]), st.integers(16, 300)
)
def test_every_picture_fits(width: int, height: int, fit: Any, size: int) -> None:
    fitted = fit_image(Image.new("RGB", (width, height)), spec(), fit=fit, size=size)
    assert fitted.mode == "RGB"
    assert max(fitted.size) == size
    assert min(fitted.size) >= (16 if fit == "keep" else size)


def test_a_long_strip_is_cropped_without_being_enlarged_whole() -> None:
    strip = Image.new("RGB", (1_000_000, 2), "red")
    strip.paste((0, 0, 255), (499_999, 0, 500_001, 2))
    fitted = fit_image(strip, spec(), fit="crop", size=224)
    middle = fitted.getpixel((112, 112))
    assert fitted.size == (224, 224)
    assert isinstance(middle, tuple)
    assert middle[2] > 240


def test_the_tensor_holds_every_byte_divided_by_255(cat: Image.Image) -> None:
    tensor = to_tensor(cat)
    expected = torch.from_numpy(np.asarray(cat).astype(np.float32) / np.float32(255)).permute(2, 0, 1)
    assert tensor.shape == (1, 3, 300, 451)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert torch.equal(tensor[0], expected)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.randoms(use_true_random=False))
def test_a_picture_survives_the_way_to_a_tensor_and_back(width: int, height: int, random: Any) -> None:
    picture = Image.frombytes("RGB", (width, height), random.randbytes(width * height * 3))
    assert open_image(to_tensor(picture)).picture == picture
