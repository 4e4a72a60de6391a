"""neural-style-pt's loss, written out from its source, against ours on the same picture and network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from convscope_sdk.network import Network
from convscope_techniques.texture.jitter import Jitter
from convscope_techniques.texture.style_loss import StyleLoss
from convscope_techniques.texture.style_params import StyleTransferParams
from support.networks import picture
from support.zoo import random_network

CONTENT_AT, STYLE_AT = 14, (1, 4, 7, 12, 17)  # relu4_2 and relu1_1 … relu5_1 of VGG-11
CONTENT, STYLE, X = (picture(size=96, seed=seed) for seed in (1, 2, 3))


def _caffe_like() -> Network:
    """VGG-11 that sees pixels from 0 to 255 less a mean, as neural-style-pt's do."""
    network = random_network("vgg11")
    return Network(network.module, replace(network.spec, mean=(0.48, 0.46, 0.41), std=(1 / 255,) * 3))


def _features(network: Network, pixels: torch.Tensor) -> dict[int, torch.Tensor]:
    found, x = {}, network.normalize(pixels)
    for index, layer in enumerate(network.module.get_submodule("features").children()):
        x = layer(x).clone() if not isinstance(layer, nn.ReLU) else layer(x.clone())
        found[index] = x
    return found


def _gram(features: torch.Tensor) -> torch.Tensor:
    _, channels, height, width = features.size()
    flat = features.view(channels, height * width)
    return torch.mm(flat, flat.t()).div(features.nelement())


def _theirs(network: Network, content_weight: float, style_weight: float, tv_weight: float) -> float:
    mse = nn.MSELoss()
    made, content, style = (_features(network, pixels) for pixels in (X, CONTENT, STYLE))
    loss = content_weight * mse(made[CONTENT_AT], content[CONTENT_AT])
    for layer in STYLE_AT:
        loss = loss + style_weight * mse(_gram(made[layer]), _gram(style[layer]))
    x = 255 * X
    down, right = x[:, :, 1:, :] - x[:, :, :-1, :], x[:, :, :, 1:] - x[:, :, :, :-1]
    return float(loss + tv_weight * (down.abs().sum() + right.abs().sum()))


def _ours(network: Network, params: StyleTransferParams) -> float:
    loss = StyleLoss(network, params, CONTENT, [STYLE], [1.0], jitter=Jitter(0, np.random.default_rng(0)))
    with torch.no_grad():
        return float(sum(loss(X).values(), start=torch.zeros(())))


def test_the_preset_counts_as_neural_style_pt_does() -> None:
    network = _caffe_like()
    ours = _ours(network, StyleTransferParams(preset="neural-style-pt"))
    assert ours == pytest.approx(_theirs(network, 5, 100, 1e-3), rel=1e-4)


@pytest.mark.parametrize("weights", [(5.0, 0.0, 0.0), (0.0, 100.0, 0.0), (0.0, 0.0, 1e-3)])
def test_each_term_counts_as_theirs(weights: tuple[float, float, float]) -> None:
    network = _caffe_like()
    content, style, tv = weights
    params = StyleTransferParams(preset="neural-style-pt", content_weight=content, style_weight=style, tv_weight=tv)
    assert _ours(network, params) == pytest.approx(_theirs(network, *weights), rel=1e-4)


def test_gatys_energies_are_theirs_by_the_stated_factors() -> None:
    network = random_network("vgg11")
    made, content, style = (_features(network, pixels) for pixels in (X, CONTENT, STYLE))
    energy = 1e-3 * float((made[CONTENT_AT] - content[CONTENT_AT]).square().sum()) / 2
    for layer in STYLE_AT:
        (channels, positions), ours = made[layer].flatten(2)[0].shape, made[layer].flatten(2)[0]
        theirs = style[layer].flatten(2)[0]
        difference = (ours @ ours.T - theirs @ theirs.T).square().sum()
        energy += float(difference) / (4 * channels**2 * positions**2) / len(STYLE_AT)
    params = StyleTransferParams(preset="gatys-2016", pooling="max", caffe_scale=False)
    assert _ours(network, params) == pytest.approx(energy, rel=1e-4)


def test_cs231ns_losses_are_sums() -> None:
    network = random_network("squeezenet1_1")
    features = {
        name: network.activations(pixels, *(f"features.{index}" for index in (1, 3, 4, 6, 7)))
        for name, pixels in {"x": X, "content": CONTENT, "style": STYLE}.items()
    }
    loss = 5e-2 * float((features["x"]["features.3"] - features["content"]["features.3"]).square().sum())
    for index, weight in ((1, 20000), (4, 500), (6, 12), (7, 1)):
        ours, theirs = (_gram(features[name][f"features.{index}"]) for name in ("x", "style"))
        loss += weight * float((ours - theirs).square().sum())
    seen = X / 0.226
    loss += 5e-2 * float(seen.diff(dim=2).square().sum() + seen.diff(dim=3).square().sum())
    assert _ours(network, StyleTransferParams(preset="cs231n")) == pytest.approx(loss, rel=1e-3)
