"""The painter that comes with the techniques has learned its style, and leaves no grain."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch
from safetensors.torch import load_file
from torch import Tensor

import convscope_techniques
from convscope_sdk.images import to_tensor
from convscope_sdk.network import Network
from convscope_techniques import convscope_model_sources
from convscope_techniques.texture.colours import edge_agreement, luma
from convscope_techniques.texture.fast_style_params import FastStyleTrainingParams
from convscope_techniques.texture.fast_style_transfer import fast_style_transfer
from convscope_techniques.texture.perceptual_loss import PerceptualLoss
from support.collected import Collected
from support.zoo import efficientnet

FOLDER = Path(convscope_techniques.__file__).parent / "shipped" / "strokes"
HELD_OUT = {"cat": skimage.data.chelsea, "coffee": skimage.data.coffee}


@functools.cache
def painter() -> Network:
    (source,) = convscope_model_sources()
    spec = source.spec("strokes")
    assert spec is not None
    return Network(spec.build(), spec)


@functools.cache
def painted(name: str) -> tuple[Tensor, Tensor]:
    """A picture that it has not learned from at 256 px, and its painting."""
    picture = PIL.Image.fromarray(HELD_OUT[name]())
    picture.thumbnail((256, 256))
    seen = Collected(fast_style_transfer.run(painter(), picture, size=256))
    return to_tensor(picture), seen.tensor("stylized")[None]


@pytest.mark.parametrize("name", HELD_OUT)
def test_a_painting_is_far_nearer_to_the_style_and_still_the_picture(name: str) -> None:
    content, painting = painted(name)
    style = to_tensor(PIL.Image.open(FOLDER / "style.jpg"))
    loss = PerceptualLoss(efficientnet(), FastStyleTrainingParams.parse({}), style)
    with torch.no_grad():
        before, after = loss(content, content), loss(painting, content)
    assert float(after["style"]) < 0.4 * float(before["style"])
    own, mirrored = (edge_agreement(luma(painting), luma(picture)) for picture in (content, content.flip(3)))
    assert own > mirrored + 0.1


@pytest.mark.parametrize("name", HELD_OUT)
def test_no_column_and_no_row_is_livelier_than_its_neighbours(name: str) -> None:
    """A chequered grain would show in the differences of pixels at every second or fourth place."""
    _, painting = painted(name)
    for axis in (2, 3):
        lively = painting.diff(dim=axis).abs().mean([d for d in range(4) if d != axis])
        places = lively[: len(lively) // 4 * 4].view(-1, 4).mean(0)
        assert float(places.max() / places.min()) < 1.15


def test_it_is_small_and_says_how_it_was_made() -> None:
    weights = load_file(FOLDER / "weights.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert (FOLDER / "weights.safetensors").stat().st_size < 700_000
    assert "fast_style_training" in (FOLDER / "README.md").read_text()
    assert np.asarray(PIL.Image.open(FOLDER / "style.jpg")).shape == (512, 512, 3)
