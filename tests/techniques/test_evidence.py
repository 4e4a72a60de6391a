from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.target import Target
from convscope_techniques.attribution.baseline import blurred
from convscope_techniques.attribution.saliency import saliency
from convscope_techniques.attribution.smoothgrad import smoothgrad
from convscope_techniques.segmentation.evidence import Average, EvidenceParams
from convscope_techniques.segmentation.views import ten_crops
from support.collected import Collected
from support.referee import pixels_of
from support.zoo import tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
IMAGE = pixels_of(tiny(), PICTURE)
TARGET = Target.parse(3)


def _average(**params: Any) -> Average:
    return Average.of(tiny(), IMAGE, TARGET, EvidenceParams(**params), batch=7)


def _map(**params: Any) -> torch.Tensor:
    average = _average(**params)
    parts = [average.part(number) for number in range(average.passes)]
    return average.saliency(torch.stack(parts).sum(0), len(parts))


@pytest.mark.parametrize(
    ("params", "passes"), [({}, 10), ({"average": "noise", "samples": 22}, 4), ({"average": "none"}, 1)]
)
def test_it_says_how_many_passes_there_are(params: dict[str, Any], passes: int) -> None:
    assert _average(**params).passes == passes


def test_after_some_passes_it_is_the_mean_over_those() -> None:
    average = _average()
    corner, mirrored = average.part(0), average.part(1)
    assert torch.equal(average.saliency(corner + mirrored, 2)[:28, :28], ((corner + mirrored) / 2)[:28, :28])
    assert not average.saliency(corner + mirrored, 2)[28:].any()


def test_of_the_picture_alone_it_is_its_saliency() -> None:
    assert torch.equal(_map(average="none"), Collected(saliency.run(tiny(), PICTURE, target=3)).tensor("saliency"))


def test_over_noise_it_is_smoothgrad() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        found = _map(average="noise", samples=20)
    theirs = Collected(smoothgrad.run(tiny(), PICTURE, seed=5, target=3, samples=20, cap=1)).tensor("smoothgrad")
    assert torch.allclose(found, theirs, rtol=1e-4, atol=1e-7)


def test_over_crops_it_is_the_mean_over_those_that_show_a_pixel() -> None:
    maps = torch.stack([view.gradient(tiny(), IMAGE, TARGET)[0].abs().amax(0) for view in ten_crops(32, 32)])
    found = _map()
    assert found[0, 0] == pytest.approx(float(maps[:2, 0, 0].mean()))  # the first corner alone, and its mirror image
    assert found[16, 16] == pytest.approx(float(maps[:, 16, 16].mean()))


def test_a_blur_is_gaussian() -> None:
    assert torch.equal(_map(average="none", blur=2), blurred(_map(average="none")[None, None], 2.0)[0, 0])
