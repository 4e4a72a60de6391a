from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convscope_sdk.inprocess import prepare
from convscope_sdk.technique import Technique
from convscope_techniques.attribution.batches import activation_bytes, batch_size
from convscope_techniques.attribution.integrated_gradients import integrated_gradients
from convscope_techniques.attribution.occlusion import occlusion
from convscope_techniques.attribution.rise import rise
from convscope_techniques.attribution.score_cam import score_cam
from convscope_techniques.attribution.smoothgrad import smoothgrad
from support.pictures import photo
from support.zoo import network_of, tiny


def _picture(height: int, width: int) -> torch.Tensor:
    return torch.empty(1, 3, 1, 1).expand(1, 3, height, width)


@given(st.integers(16, 4096), st.integers(16, 4096))
def test_there_is_always_one_and_never_more_than_fit(height: int, width: int) -> None:
    image = _picture(height, width)
    count, with_gradients = batch_size(tiny(), image), batch_size(tiny(), image, gradients=True)
    assert count == 1 or count * height * width <= 4 * 224 * 224
    assert count == 1 or count * activation_bytes(tiny(), image, gradients=False) <= 2**30
    assert with_gradients == 1 or with_gradients * activation_bytes(tiny(), image, gradients=True) <= 2**30
    assert 1 <= with_gradients <= count <= 1024


def test_the_bytes_are_those_of_the_layers_outputs() -> None:
    outputs = [8 * 32 * 32] * 2 + [8 * 16 * 16] * 2 + [16 * 16 * 16] * 2 + [16, 16, 7]
    root = [7] if len(tiny().layers) > len(outputs) else []
    assert activation_bytes(tiny(), _picture(32, 32), gradients=True) == 4 * sum(outputs + root)
    assert activation_bytes(tiny(), _picture(64, 64), gradients=False) == 4 * 4 * sum(sorted(outputs)[-4:])


def test_a_network_with_large_outputs_takes_fewer_pictures() -> None:
    wide = network_of(
        conv=nn.Conv2d(3, 2048, 1), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(2048, 2)
    )
    assert batch_size(wide, _picture(64, 64)) < batch_size(tiny(), _picture(64, 64))


def test_a_part_is_asked_for_where_fewer_are_faster() -> None:
    assert batch_size(tiny(), _picture(32, 32), part=0.5) == pytest.approx(
        batch_size(tiny(), _picture(32, 32)) / 2, abs=1
    )


@pytest.mark.gpu
def test_on_a_gpu_a_quarter_of_what_is_free_is_taken() -> None:
    free, _ = torch.cuda.mem_get_info()
    image = torch.empty(1, 3, 512, 512, device="cuda")
    count = batch_size(tiny(), image)
    assert count == min(1024, pytest.approx(free / 4 / activation_bytes(tiny(), image, gradients=False), rel=0.1))


@pytest.mark.parametrize(
    ("technique", "params"),
    [
        (rise, {"samples": 16}),
        (smoothgrad, {"samples": 16}),
        (integrated_gradients, {"steps": 16}),
        (occlusion, {"window": 8, "stride": 8}),
        (score_cam, {}),
    ],
    ids=lambda value: value.id if isinstance(value, Technique) else "",
)
def test_a_run_with_thrift_sends_smaller_batches_through_the_network(
    technique: Technique[Any], params: dict[str, Any]
) -> None:
    def largest(thrift: int) -> int:
        prepared = prepare(technique, tiny(), photo(), params={"batch": 8, **params})
        seen: list[int] = []
        hook = prepared.run.network.module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        try:
            list(technique.function(replace(prepared.run, thrift=thrift)))
        finally:
            hook.remove()
        return max(seen)

    assert (largest(1), largest(4)) == (8, 2)
