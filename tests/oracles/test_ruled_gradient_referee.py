"""Guided backpropagation, deconvnet and guided Grad-CAM against captum, where captum is right, and against its trap."""

from __future__ import annotations

from typing import Any

import captum.attr
import pytest
import skimage.data
import torch
from torch import nn

from convscope_sdk.technique import Technique
from convscope_sdk.torchvision_ops import ensure_torchvision
from convscope_techniques.attribution.deconvnet import deconvnet
from convscope_techniques.attribution.guided_backprop import guided_backprop
from convscope_techniques.attribution.guided_grad_cam import guided_grad_cam
from convscope_techniques.attribution.saliency import saliency
from support.collected import Collected
from support.networks import out_of_place
from support.referee import OnPixels, pixels_of
from support.zoo import lens, random_network

CAT = skimage.data.chelsea()
SIZE = 64

pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")


class _Captums(OnPixels):
    """The pixels' network over a copy whose ReLUs work out of place, as captum needs."""

    def __init__(self, name: str) -> None:
        network = random_network(name)
        super().__init__(network)
        self.module = out_of_place(network)

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.module(self.network.normalize(pixels))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "squeezenet1_1"])
@pytest.mark.parametrize(
    ("technique", "peer"), [(guided_backprop, captum.attr.GuidedBackprop), (deconvnet, captum.attr.Deconvolution)]
)
def test_rules_equal_captums_where_every_relu_is_a_module(technique: Technique[Any], peer: Any, name: str) -> None:
    pixels = pixels_of(random_network(name), CAT, size=SIZE).requires_grad_()
    theirs = peer(_Captums(name)).attribute(pixels, target=7)[0].detach()
    seen = Collected(technique.run(random_network(name), CAT, target=7, size=SIZE))
    assert torch.allclose(seen.tensor("gradient"), theirs, rtol=1e-4, atol=1e-6 * float(theirs.abs().max()))


@pytest.mark.parametrize(("technique", "rule"), [(guided_backprop, "guided"), (deconvnet, "deconvnet")])
def test_a_units_picture_equals_captums_of_the_network_cut_there(technique: Technique[Any], rule: str) -> None:
    network = random_network("resnet18")
    peer = captum.attr.NeuronGuidedBackprop if rule == "guided" else captum.attr.NeuronDeconvolution
    wrapped = _Captums("resnet18")
    pixels = pixels_of(network, CAT, size=SIZE).requires_grad_()
    theirs = peer(wrapped, wrapped.module.get_submodule("layer2")).attribute(pixels, (5, 4, 4))[0].detach()
    seen = Collected(technique.run(network, CAT, target="layer2:5@4,4", size=SIZE))
    assert torch.allclose(seen.tensor("gradient"), theirs, rtol=1e-4, atol=1e-6 * float(theirs.abs().max()))


@pytest.mark.parametrize(("name", "calls"), [("googlenet", 57), ("inception_v3", 94)])
def test_where_relu_is_a_function_captum_gives_the_plain_gradient_and_we_do_not(name: str, calls: int) -> None:
    network = random_network(name) if name == "googlenet" else _inception()
    size = SIZE if name == "googlenet" else 96
    plain = Collected(saliency.run(network, CAT, target=7, size=size)).tensor("gradient")
    pixels = pixels_of(network, CAT, size=size).requires_grad_()
    captums = captum.attr.GuidedBackprop(OnPixels(network)).attribute(pixels, target=7)[0].detach()
    seen = Collected(guided_backprop.run(network, CAT, target=7, size=size))
    assert torch.allclose(captums, plain)
    assert not torch.allclose(seen.tensor("gradient"), plain, rtol=0.1)
    assert f"{calls} of {calls} ReLU calls intercepted" in seen.notes


def _inception() -> Any:
    ensure_torchvision()
    from torchvision import models

    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Its own initialisation takes half a minute; the layers' defaults will do.
        module: nn.Module = models.inception_v3(weights=None, init_weights=False, aux_logits=False)
    return lens(module, name="inception_v3", size=96)


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_guided_grad_cam_equals_captums(name: str) -> None:
    network = random_network(name)
    layer = "layer3" if name == "resnet18" else "features.15"
    wrapped = _Captums(name)
    pixels = pixels_of(network, CAT, size=SIZE).requires_grad_()
    referee = captum.attr.GuidedGradCam(wrapped, wrapped.module.get_submodule(layer))
    theirs = referee.attribute(pixels, target=7, interpolate_mode="bilinear")[0].detach()
    seen = Collected(guided_grad_cam.run(network, CAT, target=7, layer=layer, size=SIZE))
    assert theirs.any()
    assert torch.allclose(seen.tensor("gradient"), theirs, rtol=1e-4, atol=1e-6 * float(theirs.abs().max()))
