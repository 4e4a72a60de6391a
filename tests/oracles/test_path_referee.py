"""Averages of gradients, over noise and over a path, against captum with the same noise and the same nodes."""

from __future__ import annotations

from typing import Any

import captum.attr
import numpy as np
import pytest
import skimage.data
import torch

from convscope_sdk.network import Network
from convscope_techniques.attribution.integrated_gradients import integrated_gradients
from convscope_techniques.attribution.saliency import reduced
from convscope_techniques.attribution.smoothgrad import smoothgrad
from support.collected import Collected
from support.referee import pixels_of
from support.zoo import efficientnet, random_network

CAT = skimage.data.chelsea()
NETWORKS = {"efficientnet_lite0": efficientnet, "resnet18": lambda: random_network("resnet18")}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return NETWORKS[request.param]()


@pytest.mark.parametrize(("baseline", "colour"), [("black", 0.0), ("grey", 0.5)])
def test_integrated_gradients_equal_captums_at_the_same_nodes(network: Network, baseline: str, colour: float) -> None:
    pixels = pixels_of(network, CAT, size=64)
    theirs, delta = captum.attr.IntegratedGradients(network.logits).attribute(
        pixels,
        colour,
        target=7,
        n_steps=12,
        method="gausslegendre",
        internal_batch_size=1,
        return_convergence_delta=True,
    )
    settings: dict[str, Any] = {"target": 7, "steps": 12, "tolerance": 1, "baseline": baseline, "size": 64, "batch": 1}
    seen = Collected(integrated_gradients.run(network, CAT, **settings))
    assert torch.allclose(
        seen.tensor("attribution"), theirs[0].float(), rtol=1e-5, atol=1e-5 * float(theirs.abs().max())
    )
    gap = seen.scores["attribution_sum"] - seen.scores["score_difference"]
    assert gap == pytest.approx(float(delta), abs=1e-4 * abs(seen.scores["score_difference"]))


@pytest.mark.parametrize(
    ("average", "kind"), [("gradient", "smoothgrad"), ("square", "smoothgrad_sq"), ("variance", "vargrad")]
)
def test_smoothgrad_equals_captums_noise_tunnel_with_the_same_noise(network: Network, average: str, kind: str) -> None:
    pixels = pixels_of(network, CAT, size=64)
    deviation = float(0.15 * (pixels.max() - pixels.min()))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(network.logits))
        theirs = tunnel.attribute(
            pixels, nt_type=kind, nt_samples=6, nt_samples_batch_size=1, stdevs=deviation, target=7, abs=False
        )[0].detach()
    settings: dict[str, Any] = {"target": 7, "samples": 6, "average": average, "size": 64, "batch": 1, "cap": 1}
    seen = Collected(smoothgrad.run(network, CAT, seed=5, **settings))
    limit = 1e-5 * float(theirs.abs().max())
    assert torch.allclose(seen.tensor("gradient"), theirs, rtol=1e-4, atol=limit)
    assert torch.allclose(seen.tensor("smoothgrad"), reduced(theirs[None], "max")[0, 0], rtol=1e-4, atol=limit)
    assert np.ptp(theirs.numpy()) > 0
