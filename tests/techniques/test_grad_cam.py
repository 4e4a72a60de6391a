from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from convscope_sdk.errors import NotApplicable
from convscope_sdk.events import Heatmap, Predictions
from convscope_techniques.attribution.grad_cam import grad_cam
from support.collected import Collected
from support.zoo import lens, random_network, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_with_global_pooling_and_one_linear_layer_it_is_cam_divided_by_positions() -> None:
    network = random_network("resnet18")
    seen = Collected(grad_cam.run(network, PICTURE, fit="resize", size=64, target=3))
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
    maps = network.activations(pixels, "layer4")["layer4"]
    cam = torch.einsum("c,bchw->hw", network.module.fc.weight[3], maps).relu() / maps.shape[2:].numel()
    assert torch.allclose(seen.tensor("cam"), cam, atol=1e-6)


def test_the_map_is_the_raw_one_brought_to_the_input_by_bilinear_interpolation() -> None:
    seen = Collected(grad_cam.run(random_network("resnet18"), PICTURE, size=64))
    raw, drawn = seen.tensor("cam"), seen.one(Heatmap, "grad_cam").values
    assert tuple(raw.shape) == (2, 2)
    expected = functional.interpolate(raw[None, None], (64, 64), mode="bilinear", align_corners=False)
    assert torch.equal(drawn, expected[0, 0])


def test_it_takes_one_forward_and_one_backward_pass_and_none_below_the_layer() -> None:
    network = random_network("resnet18")
    network.layer("last_conv")  # probing the layers is not the technique's
    calls: list[str] = []
    below = network.module.conv1.register_forward_hook(lambda *_: calls.append("forward"))
    gradient = network.module.layer3.register_forward_hook(
        lambda _module, _args, output: calls.append("graph") if output.requires_grad else None
    )
    try:
        list(grad_cam.run(network, PICTURE, size=64))
    finally:
        below.remove()
        gradient.remove()
    assert calls == ["forward"]


def test_predictions_come_from_the_same_pass() -> None:
    network = tiny()
    seen = Collected(grad_cam.run(network, PICTURE, size=32, fit="resize"))
    (index, _, _), *_ = seen.all(Predictions)[0].items
    assert any(f"class:{index}" in note for note in seen.notes)


def test_a_layer_of_one_position_is_refused_and_one_that_applies_is_named() -> None:
    with pytest.raises(NotApplicable, match=r"take layer=layer3\S*, or a larger size"):
        list(grad_cam.run(random_network("resnet18"), PICTURE, size=32))


def test_a_layer_without_positions_is_refused() -> None:
    with pytest.raises(NotApplicable, match="no maps of more than one position"):
        list(grad_cam.run(tiny(), PICTURE, size=32, layer="logits"))


def test_a_unit_above_the_layer_can_be_explained() -> None:
    seen = Collected(grad_cam.run(tiny(), PICTURE, size=32, fit="resize", layer="conv2", target="conv3:5@8,8"))
    touched = seen.tensor("cam").nonzero()
    assert seen.tensor("cam").any()
    assert len(touched) > 9  # weights are averages over positions, so the map is not confined to the unit's field


def test_a_unit_below_the_layer_is_refused() -> None:
    with pytest.raises(NotApplicable, match="does not depend on"):
        list(grad_cam.run(tiny(), PICTURE, size=32, layer="conv3", target="conv2:3"))


def test_tokens_laid_out_with_channels_last_are_refused() -> None:
    class ChannelsLast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, stride=4)
            self.mix = nn.Linear(8, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.mix(self.patches(x).permute(0, 2, 3, 1)).mean((1, 2)))

    network = lens(ChannelsLast(), size=64)
    with pytest.raises(NotApplicable, match="take layer=patches"):
        list(grad_cam.run(network, PICTURE, size=64, layer="mix"))
