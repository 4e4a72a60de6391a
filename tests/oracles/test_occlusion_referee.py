from __future__ import annotations

import captum.attr
import pytest
import skimage.data
import torch
from torch import nn

from convscope_sdk.images import fit_image, open_image, to_tensor
from convscope_sdk.network import Network
from convscope_techniques.attribution.occlusion import occlusion
from support.collected import Collected
from support.zoo import efficientnet

CAT = skimage.data.chelsea()


@pytest.mark.parametrize(
    ("window", "stride", "baseline", "colour"),
    [(32, 16, "grey", 0.5), (31, 20, "black", 0.0), (24, 24, "grey", 0.5)],
)
def test_it_equals_captum(window: int, stride: int, baseline: str, colour: float) -> None:
    network = efficientnet()
    picture = fit_image(open_image(CAT).picture, network.spec, fit="crop", size=96)
    pixels = to_tensor(picture, network.device)
    with torch.no_grad():
        theirs = captum.attr.Occlusion(network.logits).attribute(
            pixels, (3, window, window), strides=(3, stride, stride), target=285, baselines=colour
        )
    settings = {"window": window, "stride": stride, "baseline": baseline, "target": 285, "size": 96}
    # Other layouts and batches take other convolution kernels, which round the logits otherwise.
    rounding = 1e-6 * float(network.logits(pixels).abs().max())
    for batch in (1, None):
        ours = Collected(occlusion.run(network, CAT, batch=batch, **settings)).tensor("attribution")
        assert float((ours - theirs[0, 0]).abs().max()) <= rounding


class Doubled(nn.Module):
    """Computes in double precision."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner = module.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(x.double())
        return logits


def test_computed_in_double_precision_it_equals_captum_as_far_as_that_tells() -> None:
    network = Network(Doubled(efficientnet().spec.build()), efficientnet().spec)
    pixels = to_tensor(fit_image(open_image(CAT).picture, network.spec, fit="crop", size=96), network.device)
    with torch.no_grad():
        theirs = captum.attr.Occlusion(network.logits).attribute(
            pixels, (3, 32, 32), strides=(3, 16, 16), target=285, baselines=0.5
        )
    ours = Collected(occlusion.run(network, CAT, target=285, size=96)).tensor("attribution")
    assert ours.dtype == torch.float64
    # Captum gives its sums in single precision.
    assert float((ours - theirs[0, 0]).abs().max()) <= 2e-7 * float(ours.abs().max())
