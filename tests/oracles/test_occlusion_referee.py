from __future__ import annotations

import captum.attr
import pytest
import skimage.data
import torch

from convscope_sdk.images import fit_image, open_image, to_tensor
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
    one_by_one = Collected(occlusion.run(network, CAT, batch=1, **settings)).tensor("attribution")
    batched = Collected(occlusion.run(network, CAT, **settings)).tensor("attribution")
    assert float((one_by_one - theirs[0, 0]).abs().max()) <= 1e-6
    # A batch takes other convolution kernels, which round the logits otherwise.
    assert float((batched - theirs[0, 0]).abs().max()) <= 1e-6 * float(network.logits(pixels).abs().max())
