from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from convscope_sdk.target import Target
from convscope_techniques.attribution.baseline import blurred
from convscope_techniques.attribution.saliency import saliency
from convscope_techniques.attribution.smoothgrad import smoothgrad
from convscope_techniques.segmentation.evidence import EvidenceParams, passes, saliencies
from convscope_techniques.segmentation.views import ten_crops
from support.collected import Collected
from support.referee import pixels_of
from support.zoo import tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
IMAGE = pixels_of(tiny(), PICTURE)
TARGET = Target.parse(3)


def _maps(**params: Any) -> list[torch.Tensor]:
    return list(saliencies(tiny(), IMAGE, TARGET, EvidenceParams(**params)))


@pytest.mark.parametrize("params", [{}, {"average": "noise", "samples": 300}, {"average": "none"}])
def test_it_says_how_many_maps_there_will_be(params: dict[str, Any]) -> None:
    assert len(_maps(**params)) == passes(tiny(), IMAGE, EvidenceParams(**params))


def test_of_the_picture_alone_it_is_its_saliency() -> None:
    assert torch.equal(_maps(average="none")[-1], Collected(saliency.run(tiny(), PICTURE, target=3)).tensor("saliency"))


def test_over_noise_it_is_smoothgrad() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        found = _maps(average="noise", samples=20)[-1]
    theirs = Collected(smoothgrad.run(tiny(), PICTURE, seed=5, target=3, samples=20, cap=1)).tensor("smoothgrad")
    assert torch.allclose(found, theirs, rtol=1e-4, atol=1e-7)


def test_over_crops_it_is_the_mean_over_those_that_show_a_pixel() -> None:
    maps = torch.stack([view.gradient(tiny(), IMAGE, TARGET)[0].abs().amax(0) for view in ten_crops(32, 32)])
    found = _maps()[-1]
    assert found[0, 0] == pytest.approx(float(maps[:2, 0, 0].mean()))  # the first corner alone, and its mirror image
    assert found[16, 16] == pytest.approx(float(maps[:, 16, 16].mean()))


def test_a_blur_is_gaussian() -> None:
    assert torch.equal(_maps(average="none", blur=2)[0], blurred(_maps(average="none")[0][None, None], 2.0)[0, 0])
