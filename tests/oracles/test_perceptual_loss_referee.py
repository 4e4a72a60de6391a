"""The loss that PyTorch's example fast_neural_style trains with, written again, against ours by its preset."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from convscope_sdk.network import Network
from convscope_techniques.texture.fast_style_params import FastStyleTrainingParams
from convscope_techniques.texture.perceptual_loss import PerceptualLoss
from support.networks import network
from support.vgg import NarrowVGG16

STYLE_LAYERS = (3, 8, 15, 22)  # relu1_2, relu2_2, relu3_3, relu4_3
CONTENT_LAYER = 8
CONTENT_WEIGHT, STYLE_WEIGHT = 1e5, 1e10


def example(lens: Network, painted: Tensor, contents: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    """Content and style loss of a batch of pictures in [0, 1]."""

    def features(pixels: Tensor) -> list[Tensor]:
        x, found = lens.normalize(pixels), []
        for layer in lens.module.features:  # type: ignore[union-attr]  # NarrowVGG16's
            x = functional.relu(x) if isinstance(layer, torch.nn.ReLU) else layer(x)
            found.append(x)
        return found

    def gram(x: Tensor) -> Tensor:
        flat = x.reshape(x.shape[0], x.shape[1], -1)
        return torch.bmm(flat, flat.transpose(1, 2)) / (x.shape[1] * x.shape[2] * x.shape[3])

    of_painted, of_contents = features(painted), features(contents)
    of_style = features(style.repeat(len(painted), 1, 1, 1))
    content = CONTENT_WEIGHT * functional.mse_loss(of_painted[CONTENT_LAYER], of_contents[CONTENT_LAYER])
    losses = [functional.mse_loss(gram(of_painted[i]), gram(of_style[i])) for i in STYLE_LAYERS]
    return content, STYLE_WEIGHT * torch.stack(losses).sum()


def test_the_preset_counts_as_the_example_does() -> None:
    lens = network(NarrowVGG16)
    generator = torch.Generator().manual_seed(4)
    painted, contents, style = (torch.rand(n, 3, 48, 48, generator=generator) for n in (2, 2, 1))
    params = FastStyleTrainingParams.parse({"preset": "pytorch-examples"})
    terms = PerceptualLoss(lens, params, style)(painted, contents)
    with torch.no_grad():
        content, style_loss = example(lens, painted, contents, style)
    assert terms.keys() == {"content", "style"}
    assert torch.allclose(terms["content"], content, rtol=1e-4)
    assert torch.allclose(terms["style"], style_loss, rtol=1e-4)


def test_johnsons_preset_weighs_the_same_layers_as_caffes_features() -> None:
    """Caffe's pixels go from 0 to 255, so squares of features count 255²·s² times, of Gram matrices 255⁴·s⁴ times."""
    lens = network(NarrowVGG16)
    scale = 255 * sum(lens.spec.std) / 3
    painted, contents, style = (torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(n)) for n in range(3))
    params = FastStyleTrainingParams.parse(
        {"preset": "johnson-2016", "content_layers": ["relu2_2"], "content_weight": CONTENT_WEIGHT}
    )
    terms = PerceptualLoss(lens, params, style)(painted, contents)
    with torch.no_grad():
        content, style_loss = example(lens, painted, contents, style)
    assert torch.allclose(terms["content"], scale**2 * content, rtol=1e-4)
    assert torch.allclose(terms["style"], 5 / STYLE_WEIGHT * scale**4 * style_loss, rtol=1e-4)
