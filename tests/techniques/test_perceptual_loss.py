"""One convention of losses, for one picture and for batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope_techniques.texture.fast_style_params import FastStyleTrainingParams
from convscope_techniques.texture.gram import Convention
from convscope_techniques.texture.jitter import Jitter
from convscope_techniques.texture.perceptual_loss import PerceptualLoss
from convscope_techniques.texture.style_loss import StyleLoss
from convscope_techniques.texture.style_params import StyleTransferParams
from support.networks import PlainNet, network

SHARED = {"content_layers": ["features.1"], "style_layers": ["input", "features.4"], "tv_weight": 3.0}


@pytest.mark.parametrize("convention", ["relative", "mse", "gatys", "sum"])
@pytest.mark.parametrize("caffe_scale", [False, True])
def test_a_batch_of_one_is_what_style_transfer_counts(convention: Convention, caffe_scale: bool) -> None:
    values = {**SHARED, "convention": convention, "caffe_scale": caffe_scale}
    lens = network(PlainNet)
    painted, content, style = (torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(n)) for n in range(3))
    batch = PerceptualLoss(lens, FastStyleTrainingParams.parse(values), style)(painted, content)
    jitter = Jitter(0, np.random.default_rng())
    single = StyleLoss(lens, StyleTransferParams.parse(values), content, [style], [1.0], jitter=jitter)(painted)
    for kind in ("content", "style", "total_variation"):
        expected = sum(value for term, value in single.items() if term.startswith(kind))
        assert torch.allclose(batch[kind], torch.as_tensor(expected), rtol=1e-4)


def test_a_batch_of_equal_pictures_counts_as_one_of_them() -> None:
    loss = PerceptualLoss(network(PlainNet), FastStyleTrainingParams.parse(SHARED), torch.rand(1, 3, 24, 24))
    painted, content = torch.rand(1, 3, 24, 24), torch.rand(1, 3, 24, 24)
    one, three = loss(painted, content), loss(painted.expand(3, -1, -1, -1), content.expand(3, -1, -1, -1))
    assert all(torch.allclose(one[term], three[term], rtol=1e-4) for term in one)


def test_the_style_itself_has_no_style_loss() -> None:
    style = torch.rand(1, 3, 24, 24)
    loss = PerceptualLoss(network(PlainNet), FastStyleTrainingParams.parse(SHARED), style)
    terms = loss(style, style)
    assert float(terms["style"]) == pytest.approx(0, abs=1e-9)
    assert float(terms["content"]) == 0
