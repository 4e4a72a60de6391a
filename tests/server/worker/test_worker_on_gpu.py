"""Isolation where the device is a GPU."""

from __future__ import annotations

import pytest
import torch

from convscope_sdk.isolation import RandomState
from convscope_server.worker.encoder import encoder_for
from convscope_server.worker.workshop import available_devices

pytestmark = pytest.mark.gpu


def test_a_run_has_its_own_cuda_random_numbers() -> None:
    outside = torch.cuda.get_rng_state("cuda:0")
    first, second = RandomState.seeded(3, "cuda:0"), RandomState.seeded(3, "cuda:0")
    drawn = []
    for state in (first, second):
        with state.swapped_in():
            drawn.append(torch.rand(4, device="cuda:0").cpu())
    assert torch.equal(*drawn)
    assert torch.equal(torch.cuda.get_rng_state("cuda:0"), outside)


def test_every_cuda_device_gets_a_worker_and_draws_beside_it() -> None:
    assert available_devices() == tuple(f"cuda:{n}" for n in range(torch.cuda.device_count()))
    encoder = encoder_for("cuda:0")
    try:
        assert encoder.submit(lambda: 1).result(timeout=5) == 1
    finally:
        encoder.shutdown()
