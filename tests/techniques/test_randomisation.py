from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from convscope_techniques.attribution.randomisation import Likeness, stage_count, stages
from support.zoo import lens, random_network, tiny

MAP = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32))


def _weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def test_layers_forget_from_the_output_to_the_input_and_the_network_itself_none_of_it() -> None:
    network = tiny()
    before = _weights(network.module)
    seen = [(stage.layers, stage.last, _weights(stage.network.module)) for stage in stages(network, 0)]
    assert [(layers, last) for layers, last, _ in seen] == [(1, "fc"), (2, "conv3"), (3, "conv2"), (4, "conv1")]
    order = ["fc", "conv3", "conv2", "conv1"]
    for layers, _, weights in seen:
        changed = {name.split(".")[0] for name, value in weights.items() if not torch.equal(value, before[name])}
        assert changed == set(order[:layers])
    assert all(torch.equal(value, before[name]) for name, value in _weights(network.module).items())


def test_a_seed_means_the_same_weights_and_the_runs_random_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, again, other = ([_weights(s.network.module) for s in stages(tiny(), seed)][-1] for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_in_the_end_nothing_learned_is_left_and_the_network_still_answers(name: str) -> None:
    network = lens(copy.deepcopy(random_network(name).module), size=64)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    before = _weights(network.module)
    found = list(stages(network, 0))
    assert len(found) == stage_count(network) == 5
    after = _weights(found[-1].network.module)
    assert [key for key in before if before[key].std() > 0 and torch.equal(before[key], after[key])] == []
    assert found[-1].network.logits(torch.rand(1, 3, 64, 64)).isfinite().all()
    assert not any(parameter.requires_grad for parameter in found[-1].network.module.parameters())


def test_a_map_is_like_itself_its_negative_and_its_multiples() -> None:
    for other in (MAP, -MAP, 7 * MAP):
        assert Likeness.of(MAP, other) == pytest.approx((1.0, 1.0))


def test_maps_that_have_nothing_to_do_with_each_other_are_not_alike() -> None:
    other = torch.from_numpy(np.random.default_rng(1).normal(size=(20, 30)).astype(np.float32))
    likeness = Likeness.of(MAP, other)
    assert abs(likeness.spearman) < 0.15
    assert likeness.ssim < 0.3


def test_a_map_that_is_the_same_everywhere_is_like_none() -> None:
    assert Likeness.of(MAP, torch.zeros_like(MAP)).spearman == 0
    assert Likeness.of(torch.zeros_like(MAP), torch.zeros_like(MAP)).spearman == 0
