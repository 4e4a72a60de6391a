from __future__ import annotations

import captum.attr
import pytest
import skimage.data
import torch

from convscope_sdk.images import fit_image, open_image, to_tensor
from convscope_techniques.attribution.saliency import saliency
from support.collected import Collected
from support.zoo import efficientnet

CAT = skimage.data.chelsea()


def _pixels() -> torch.Tensor:
    network = efficientnet()
    picture = fit_image(open_image(CAT).picture, network.spec, fit="crop", size=None)
    return to_tensor(picture, network.device)


@pytest.mark.parametrize("target", [285, 3])
def test_it_equals_captum_to_the_bit_under_every_reduction(target: int) -> None:
    network, pixels = efficientnet(), _pixels().requires_grad_()
    theirs = captum.attr.Saliency(network.logits).attribute(pixels, target=target, abs=False)[0].detach()
    ours = {
        (reduce, signed): Collected(saliency.run(network, CAT, target=target, reduce=reduce, signed=signed)).tensor(
            "saliency"
        )
        for reduce in ("max", "mean", "none")
        for signed in (False, True)
    }
    assert torch.equal(ours["max", False], theirs.abs().amax(0))
    assert torch.equal(ours["mean", False], theirs.abs().mean(0))
    assert torch.equal(ours["none", False], theirs.abs())
    assert torch.equal(ours["mean", True], theirs.mean(0))
    assert torch.equal(ours["none", True], theirs)
    assert torch.equal(ours["max", True].abs(), theirs.abs().amax(0))


def test_times_input_equals_captums_input_x_gradient() -> None:
    network, pixels = efficientnet(), _pixels().requires_grad_()
    theirs = captum.attr.InputXGradient(network.logits).attribute(pixels, target=285)[0].detach()
    run = saliency.run(network, CAT, target=285, times_input=True, reduce="none", signed=True)
    assert torch.equal(Collected(run).tensor("saliency"), theirs)
