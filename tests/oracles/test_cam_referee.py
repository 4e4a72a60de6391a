"""The class-activation maps against torchcam and pytorch-grad-cam, where those compute what the papers say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from torch import nn

from convscope_sdk.network import Network
from convscope_sdk.technique import Technique
from convscope_sdk.torchvision_ops import ensure_torchvision
from convscope_techniques.attribution.eigen_cam import eigen_cam
from convscope_techniques.attribution.grad_cam import grad_cam
from convscope_techniques.attribution.grad_cam_plus_plus import grad_cam_plus_plus
from convscope_techniques.attribution.hires_cam import hires_cam
from convscope_techniques.attribution.layer_cam import layer_cam
from convscope_techniques.attribution.score_cam import score_cam
from support.collected import Collected
from support.referee import OnPixels, pixels_of, scaled
from support.zoo import efficientnet, network_of, random_network, tiny

CAT = skimage.data.chelsea()
NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
LAYERS = [("efficientnet_lite0", "blocks.6", 285), ("efficientnet_lite0", "blocks.4", 3), ("resnet18", "layer3", 7)]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def _network(name: str) -> Network:
    return efficientnet() if name == "efficientnet_lite0" else random_network(name)


@contextmanager
def _peer(name: str, network: Network, *layers: str) -> Iterator[Any]:
    """pytorch-grad-cam's class of that name on the network's own module."""
    import pytorch_grad_cam

    modules = [network.module.get_submodule(layer) for layer in layers]
    with getattr(pytorch_grad_cam, name)(model=network.module, target_layers=modules) as referee:
        yield referee


def _theirs(
    name: str, network: Network, image: Any, target: int, *layers: str, size: int | None = None
) -> torch.Tensor:
    """pytorch-grad-cam's map, which it brings to [0, 1]."""
    ensure_torchvision()
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with _peer(name, network, *layers) as referee:
        normalized = network.normalize(pixels_of(network, image, size=size))
        found = referee(input_tensor=normalized.requires_grad_(), targets=[ClassifierOutputTarget(target)])
    return torch.from_numpy(found[0])


@pytest.mark.parametrize(("name", "layer", "target"), LAYERS)
def test_layer_cam_equals_torchcam_exactly(name: str, layer: str, target: int) -> None:
    from torchcam.methods import LayerCAM

    network = _network(name)
    wrapped = OnPixels(network).eval()
    with LayerCAM(wrapped, target_layer=f"module.{layer}") as referee:
        logits = wrapped(pixels_of(network, CAT).requires_grad_())
        (theirs,) = referee(target, logits, normalized=False)
    ours = Collected(layer_cam.run(network, CAT, target=target, layer=layer)).tensor("cam")
    assert torch.equal(ours, theirs[0].detach())


@pytest.mark.parametrize(("name", "layer", "target"), LAYERS)
@pytest.mark.parametrize(
    ("technique", "peer"), [(hires_cam, "HiResCAM"), (layer_cam, "LayerCAM"), (grad_cam, "GradCAM")]
)
def test_gradient_maps_equal_pytorch_grad_cam_after_its_normalisation(
    technique: Technique[Any], peer: str, name: str, layer: str, target: int
) -> None:
    network = _network(name)
    theirs = _theirs(peer, network, CAT, target, layer)
    ours = Collected(technique.run(network, CAT, target=target, layer=layer)).tensor(technique.id)
    assert float((scaled(ours) - theirs).abs().max()) <= 1e-3


@pytest.mark.parametrize(("technique", "peer"), [(grad_cam, "GradCAM"), (layer_cam, "LayerCAM")])
def test_several_layers_are_fused_as_by_pytorch_grad_cam(technique: Technique[Any], peer: str) -> None:
    network, layers = efficientnet(), ("blocks.4", "blocks.5", "blocks.6")
    theirs = _theirs(peer, network, CAT, 285, *layers)
    ours = Collected(technique.run(network, CAT, target=285, layers=layers)).tensor(technique.id)
    assert float((scaled(ours) - theirs).abs().max()) <= 1e-3


def test_grad_cam_plus_plus_equals_pytorch_grad_cam_where_its_constant_does_not_count() -> None:
    """It adds 1e-6 to the denominator: nothing beside large gradients; small maps keep alpha away from its limits."""

    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 1000

    torch.manual_seed(0)
    network = network_of(
        conv=nn.Conv2d(3, 8, 3, stride=4),
        maps=nn.Sequential(nn.ReLU(), Scaled()),
        conv2=nn.Conv2d(8, 8, 3),
        relu=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        fc=nn.Linear(8, 7),
    )
    with torch.no_grad():
        network.module.fc.weight *= 1e6
    theirs = _theirs("GradCAMPlusPlus", network, NOISE, 2, "maps")
    ours = Collected(grad_cam_plus_plus.run(network, NOISE, target=2, layer="maps")).tensor("grad_cam_plus_plus")
    plain = Collected(grad_cam.run(network, NOISE, target=2, layer="maps")).tensor("grad_cam")
    assert float((scaled(ours) - theirs).abs().max()) <= 1e-3
    assert float((scaled(plain) - theirs).abs().max()) > 0.05


@pytest.mark.parametrize(("name", "layer", "target"), LAYERS)
def test_the_centered_eigen_cam_equals_pytorch_grad_cam_but_for_its_arbitrary_sign(
    name: str, layer: str, target: int
) -> None:
    ensure_torchvision()
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    network = _network(name)
    maps = network.activations(pixels_of(network, CAT), layer)[layer]
    projection = torch.from_numpy(get_2d_projection(maps.numpy()))[0]
    ours = Collected(eigen_cam.run(network, CAT, layer=layer, centered=True)).tensor("cam")
    distance = min(float((ours - (sign * projection).relu()).abs().max()) for sign in (-1, 1))
    assert distance <= 1e-4 * float(projection.abs().max())


def test_score_cam_equals_torchcam_where_no_mask_is_enlarged() -> None:
    """torchcam brings masks to [0, 1] before it enlarges them, the paper after: at the picture's size both are one."""
    from torchcam.methods import ScoreCAM

    network = tiny()
    with ScoreCAM(network.module, target_layer="conv1", input_shape=(3, 32, 32)) as referee, torch.no_grad():
        network.logits(pixels_of(network, NOISE))
        (theirs,) = referee(4, normalized=False)
    ours = Collected(score_cam.run(network, NOISE, target=4, layer="conv1")).tensor("cam")
    assert torch.allclose(ours, theirs[0], rtol=1e-4, atol=1e-6)


def test_score_cam_equals_pytorch_grad_cam_where_no_mask_is_enlarged() -> None:
    theirs = _theirs("ScoreCAM", tiny(), NOISE, 4, "conv1")
    ours = Collected(score_cam.run(tiny(), NOISE, target=4, layer="conv1")).tensor("score_cam")
    assert float((scaled(ours) - theirs).abs().max()) <= 1e-3


@pytest.mark.slow
def test_score_cam_agrees_with_pytorch_grad_cam_on_a_photograph() -> None:
    """They enlarge masks with corners aligned, which moves the maps a little."""
    ours = Collected(score_cam.run(efficientnet(), CAT, target=285, size=96)).tensor("score_cam")
    theirs = _theirs("ScoreCAM", efficientnet(), CAT, 285, "bn2", size=96)
    correlation = torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]
    assert float(correlation) > 0.95
