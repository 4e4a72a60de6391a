"""What every class-activation map does, whichever way it weighs the maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from convscope_sdk.errors import NotApplicable, UnknownName
from convscope_sdk.events import Heatmap, Tensor
from convscope_sdk.technique import Technique
from convscope_techniques.attribution.cam import fused
from convscope_techniques.attribution.eigen_cam import eigen_cam
from convscope_techniques.attribution.grad_cam import grad_cam
from convscope_techniques.attribution.grad_cam_plus_plus import grad_cam_plus_plus
from convscope_techniques.attribution.hires_cam import hires_cam
from convscope_techniques.attribution.layer_cam import layer_cam
from convscope_techniques.attribution.score_cam import score_cam
from support.collected import Collected
from support.zoo import random_network, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
FITTED: dict[str, Any] = {"fit": "keep", "size": 48}
FAMILY = [grad_cam, grad_cam_plus_plus, hires_cam, layer_cam, score_cam, eigen_cam]
WITH_GRADIENTS = FAMILY[:4]


@pytest.fixture(params=FAMILY, ids=lambda technique: technique.id)
def cam(request: pytest.FixtureRequest) -> Technique[Any]:
    technique: Technique[Any] = request.param
    return technique


def test_the_heatmap_is_the_raw_map_brought_to_the_pictures_size(cam: Technique[Any]) -> None:
    seen = Collected(cam.run(tiny(), PICTURE, layer="conv2", **FITTED))
    raw = seen.one(Tensor, "cam").values
    assert tuple(raw.shape) == (16, 24)
    assert raw.min() >= 0
    large = functional.interpolate(raw[None, None], (32, 48), mode="bilinear", align_corners=False)[0, 0]
    assert torch.equal(seen.one(Heatmap, cam.id).values, large)


def test_several_layers_are_brought_to_one_scale_and_averaged(cam: Technique[Any]) -> None:
    layers = ("conv2", "relu3")
    seen = Collected(cam.run(tiny(), PICTURE, layers=layers, **FITTED))
    alone = [Collected(cam.run(tiny(), PICTURE, layer=layer, **FITTED)) for layer in layers]
    raw = [one.tensor("cam") for one in alone]
    for layer, values in zip(layers, raw, strict=True):
        assert torch.allclose(seen.tensor(f"cam_{layer}"), values, rtol=1e-4, atol=1e-6)
    expected = torch.zeros(32, 48)
    for values in raw:
        unit = (values - values.min()) / (values.max() - values.min())
        expected += functional.interpolate(unit[None, None], (32, 48), mode="bilinear")[0, 0] / 2
    assert torch.allclose(seen.tensor(cam.id), expected, atol=1e-4)


def test_a_layer_named_twice_counts_once(cam: Technique[Any]) -> None:
    network = tiny()
    once = Collected(cam.run(network, PICTURE, layer="last_conv", **FITTED))
    twice = Collected(cam.run(network, PICTURE, layers=["last_conv", network.layer("last_conv").name], **FITTED))
    assert torch.equal(once.tensor(cam.id), twice.tensor(cam.id))


def test_one_layer_without_positions_among_several_is_refused(cam: Technique[Any]) -> None:
    with pytest.raises(NotApplicable, match="no maps of more than one position"):
        list(cam.run(tiny(), PICTURE, layers=["conv2", "fc"], **FITTED))


def test_an_unknown_layer_among_several_is_named(cam: Technique[Any]) -> None:
    with pytest.raises(UnknownName, match="did you mean 'conv2'"):
        list(cam.run(tiny(), PICTURE, layers=["conv2", "conv22"], **FITTED))


def test_parameters_as_they_are_after_defaults_can_be_given_again(cam: Technique[Any]) -> None:
    parsed = cam.params.parse({"layers": ["conv2", "relu3"]})
    assert cam.params.parse(parsed.model_dump(mode="json")) == parsed


def test_the_report_says_how_far_the_map_reaches(cam: Technique[Any]) -> None:
    seen = Collected(cam.run(tiny(), PICTURE, **FITTED))
    assert seen.scores["map_max"] == float(seen.tensor(cam.id).max())
    assert 0 < seen.scores["map_half_area"] <= 1


@pytest.mark.parametrize("technique", WITH_GRADIENTS, ids=lambda technique: technique.id)
def test_a_unit_below_one_of_the_layers_is_refused(technique: Technique[Any]) -> None:
    with pytest.raises(NotApplicable, match="does not depend on the output of 'conv3'"):
        list(technique.run(tiny(), PICTURE, layers=["conv1", "conv3"], target="conv2:3", **FITTED))


def test_a_map_that_is_the_same_everywhere_adds_nothing_when_fused() -> None:
    image = torch.zeros(1, 3, 8, 8)
    ramp = torch.arange(4.0).view(1, 1, 2, 2)
    assert torch.equal(fused([torch.full((1, 1, 2, 2), 5.0), ramp], image), fused([ramp, ramp], image) / 2)


def test_with_global_pooling_and_one_linear_layer_hires_cam_is_grad_cam() -> None:
    network = random_network("resnet18")
    settings: dict[str, Any] = {"fit": "resize", "size": 64, "target": 3}
    first, second = (Collected(cam.run(network, PICTURE, **settings)).tensor("cam") for cam in (grad_cam, hires_cam))
    assert torch.allclose(first, second, atol=1e-6)
