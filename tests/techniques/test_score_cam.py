from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope_sdk.events import Preview, Progress
from convscope_techniques.attribution.score_cam import masks, score_cam, score_weighted
from support.collected import Collected
from support.zoo import network_of, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_it_is_the_papers_sum_computed_one_map_at_a_time() -> None:
    network = tiny()
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        maps = network.activations(pixels, "conv2")["conv2"]
        normalized = network.normalize(pixels)
        scores = []
        for channel in maps[0]:
            large = nn.functional.interpolate(channel[None, None], (32, 32), mode="bilinear")
            mask = (large - large.min()) / (large.max() - large.min())
            scores.append(network.module(mask * normalized)[0, 5])
    weights = torch.stack(scores).softmax(0)
    expected = torch.einsum("c,chw->hw", weights, maps[0]).relu()
    seen = Collected(score_cam.run(network, PICTURE, fit="resize", target=5, layer="conv2", batch=3))
    assert torch.allclose(seen.tensor("cam"), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_result_does_not_depend_on_the_batch(batch: int) -> None:
    whole = Collected(score_cam.run(tiny(), PICTURE)).tensor("cam")
    assert torch.allclose(Collected(score_cam.run(tiny(), PICTURE, batch=batch)).tensor("cam"), whole, atol=1e-6)


def test_constant_maps_share_the_pass_of_the_baseline_and_weigh_as_if_each_had_its_own() -> None:
    torch.manual_seed(0)
    network = network_of(
        conv=nn.Conv2d(3, 6, 3), relu=nn.ReLU(), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(6, 4)
    )
    with torch.no_grad():
        network.module.conv.bias[:4] = -100.0  # dead
    passes: list[int] = []
    network.layer("conv")
    hook = network.module.conv.register_forward_hook(lambda _module, args, _output: passes.append(len(args[0])))
    try:
        seen = Collected(score_cam.run(network, PICTURE, fit="resize", target=1, layer="relu"))
    finally:
        hook.remove()
    assert sum(passes) == 1 + 1 + 2  # the picture, the baseline, and two live maps
    assert seen.scores["masks"] == 2
    assert "2 of 6 maps are used as masks; the others are constant or below k" in seen.notes
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        maps = network.activations(pixels, "relu")["relu"]
        hidden = torch.cat([torch.zeros(4, 1, 32, 32), masks(maps[0, 4:], pixels)])
        scores = network.module(hidden * network.normalize(pixels))[:, 1]
    assert torch.allclose(seen.tensor("cam"), score_weighted(maps, scores)[0, 0], rtol=1e-4, atol=1e-6)


def test_k_maps_that_vary_most_can_stand_for_all() -> None:
    seen = Collected(score_cam.run(tiny(), PICTURE, k=3, batch=2))
    assert [(p.step, p.total) for p in seen.all(Progress)] == [(2, 3), (3, 3)]
    assert seen.scores["masks"] == 3
    whole = Collected(score_cam.run(tiny(), PICTURE))
    everything = Collected(score_cam.run(tiny(), PICTURE, k=65536))
    assert torch.equal(everything.tensor("cam"), whole.tensor("cam"))


def test_the_last_preview_is_the_result() -> None:
    seen = Collected(score_cam.run(tiny(), PICTURE, batch=5))
    assert torch.equal(torch.as_tensor(seen.all(Preview)[-1].image), seen.tensor("score_cam"))


def test_masks_span_zero_to_one() -> None:
    found = masks(torch.randn(4, 5, 6), torch.zeros(1, 3, 32, 40))
    assert tuple(found.shape) == (4, 1, 32, 40)
    assert found.amin((1, 2, 3)).tolist() == [0] * 4
    assert found.amax((1, 2, 3)).tolist() == [1] * 4


def test_needs_no_gradients() -> None:
    assert "gradients" not in score_cam.needs
