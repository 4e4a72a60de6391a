"""Random states and guards by themselves."""

from __future__ import annotations

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convscope_sdk.isolation import ModeGuard, NetworkGuard, RandomState


def draw() -> tuple[float, float, float]:
    return torch.rand(1).item(), float(np.random.rand()), random.random()


@given(st.integers(0, 2**64 - 1))
def test_seeding_a_state_disturbs_nobody_and_gives_the_same_numbers_again(seed: int) -> None:
    before = torch.get_rng_state()
    first, second = RandomState.seeded(seed), RandomState.seeded(seed)
    assert torch.equal(torch.get_rng_state(), before)
    with first.swapped_in():
        drawn = draw()
    with second.swapped_in():
        assert draw() == drawn
    assert torch.equal(torch.get_rng_state(), before)


def test_a_swapped_state_goes_on_where_it_left_off() -> None:
    whole, parts = RandomState.seeded(3), RandomState.seeded(3)
    with whole.swapped_in():
        expected = [draw() for _ in range(4)]
    drawn = []
    for _ in range(4):
        with parts.swapped_in():
            drawn.append(draw())
        draw()
    assert drawn == expected


def test_different_seeds_give_different_numbers_even_beyond_32_bits() -> None:
    drawn = set()
    for seed in (0, 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1):
        with RandomState.seeded(seed).swapped_in():
            drawn.add(draw())
    assert len(drawn) == 6


def test_a_clean_network_has_no_leaks_and_a_restored_one_neither() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval().requires_grad_(False)
    guard = NetworkGuard(module)
    module(torch.rand(1, 3, 8, 8))
    assert guard.leaks() == []
    assert not guard.values_changed()
    module[0].register_forward_hook(lambda *_: None)
    module[0].weight.requires_grad_()
    module[0].weight.grad = torch.zeros_like(module[0].weight)
    module[2] = nn.GELU()
    module.train()
    assert set(guard.leaks()) == {
        "module hooks",
        "replaced modules",
        "train/eval flags",
        "requires_grad flags",
        "parameter gradients",
    }
    guard.restore()
    assert guard.leaks() == []
    assert isinstance(module[2], nn.ReLU)


def test_hooks_that_were_there_before_stay() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3))
    called = []
    module[0].register_forward_hook(lambda *_: called.append(1))
    guard = NetworkGuard(module)
    module[0].register_forward_hook(lambda *_: called.append(2))
    assert guard.leaks() == ["module hooks"]
    guard.restore()
    module(torch.rand(1, 3, 8, 8))
    assert called == [1]


def test_every_write_to_a_value_is_seen_by_the_counters_or_by_the_sums() -> None:
    module = nn.Sequential(nn.Linear(3, 3)).eval().requires_grad_(False)
    guard = NetworkGuard(module)
    module[0].weight.data[1, 2] += 1e-6
    assert guard.leaks() == []
    assert guard.values_changed()
    guard.accept_values()
    module[0].bias.add_(1)
    assert guard.leaks() == ["parameter values"]
    guard.accept_values()
    assert guard.leaks() == []


def test_modes_are_told_by_name_and_put_back() -> None:
    guard = ModeGuard()
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    assert guard.leaks() == ["grad mode", "default dtype"]
    guard.restore()
    assert guard.leaks() == []
