from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import skimage.data
import torch
from torch import nn

from convscope_sdk.images import fit_image, open_image, to_tensor
from convscope_sdk.network import Network
from convscope_techniques.attribution.grad_cam import grad_cam
from support.collected import Collected
from support.zoo import efficientnet, random_network

CAT = skimage.data.chelsea()


class _OnPixels(nn.Module):
    """What referees are given: a module that takes the same pixels as we do."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.module = network.module

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network.logits(pixels)


def _pixels(network: Network) -> torch.Tensor:
    picture = fit_image(open_image(CAT).picture, network.spec, fit="crop", size=None)
    return to_tensor(picture, network.device).requires_grad_()


CASES = [
    ("efficientnet_lite0", "blocks.6", 285),
    ("efficientnet_lite0", "blocks.4", 3),
    ("efficientnet_lite0", "conv_head", 285),
    ("resnet18", "layer4", 7),
    ("resnet18", "layer3.0.conv1", 7),
    ("googlenet", "inception5b", 7),
    ("vgg11", "features.18", 7),  # an in-place ReLU comes next
    ("squeezenet1_1", "features.12", 7),
    ("convnext_atto", "stages.3", 7),
]


# Torchcam keeps the output itself, not a copy, and the in-place ReLU after features.18 writes over it.
KEPT_BY_TORCHCAM = [case for case in CASES if case[1] != "features.18"]


def _spelled(case: tuple[str, str, int]) -> str:
    return f"{case[0]}:{case[1]}"


@pytest.fixture(params=CASES, ids=_spelled)
def case(request: pytest.FixtureRequest) -> tuple[Network, str, int]:
    name, layer, target = request.param
    return (efficientnet() if name == "efficientnet_lite0" else random_network(name)), layer, target


def test_it_equals_captum_to_the_bit(case: tuple[Network, str, int]) -> None:
    network, layer, target = case
    referee = captum.attr.LayerGradCam(network.logits, network.module.get_submodule(layer))
    theirs = referee.attribute(_pixels(network), target=target, relu_attributions=True).detach()
    ours = Collected(grad_cam.run(network, CAT, target=target, layer=layer)).tensor("cam")
    assert torch.equal(ours, theirs[0, 0])


@pytest.mark.parametrize("case", KEPT_BY_TORCHCAM, ids=_spelled, indirect=True)
def test_it_equals_torchcam_exactly(case: tuple[Network, str, int]) -> None:
    from torchcam.methods import GradCAM

    network, layer, target = case
    wrapped = _OnPixels(network).eval()
    with GradCAM(wrapped, target_layer=f"module.{layer}") as referee:
        logits = wrapped(_pixels(network))
        (theirs,) = referee(target, logits, normalized=False)
    ours = Collected(grad_cam.run(network, CAT, target=target, layer=layer)).tensor("cam")
    assert float((ours - theirs[0].detach()).abs().max()) == 0.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("layer", "target"), [("blocks.6", 285), ("blocks.4", 285)])
def test_it_equals_pytorch_grad_cam_after_its_normalisation(layer: str, target: int) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = efficientnet()
    wrapped = _OnPixels(network)
    with GradCAM(model=wrapped, target_layers=[network.module.get_submodule(layer)]) as referee:
        theirs = referee(input_tensor=_pixels(network), targets=[ClassifierOutputTarget(target)])[0]
    ours = Collected(grad_cam.run(network, CAT, target=target, layer=layer)).tensor("grad_cam").numpy()
    ours = (ours - ours.min()) / np.ptp(ours)
    assert np.abs(ours - theirs).max() <= 1e-3
