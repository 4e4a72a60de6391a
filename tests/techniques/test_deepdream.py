from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convscope_sdk.errors import InvalidParams, TechniqueError
from convscope_sdk.events import Image, Preview, Progress
from convscope_sdk.target import Target
from convscope_techniques.synthesis.deepdream import DeepDreamParams, ascended, deepdream
from support.collected import Collected
from support.zoo import network_of, random_network, tiny

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(PICTURE).permute(2, 0, 1) / 255
SHORT = {"layer": "conv2", "size": 72, "octaves": 1, "steps": 1}


def test_the_defaults_are_those_of_the_notebook() -> None:
    params = DeepDreamParams()
    assert (params.step_size, params.jitter, params.steps) == (1.5, 32, 10)
    assert (params.octaves, params.octave_scale, params.clip) == (4, 1.4, True)


@settings(max_examples=20, deadline=None)
@given(
    st.floats(0.01, 100),
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.sampled_from(["conv2", "conv2:3", "conv3:1@2,2", "class:3"]),
)
def test_one_step_changes_the_pixels_by_the_step_size_on_average(size: float, dy: int, dx: int, spelling: str) -> None:
    target = tiny().resolve(Target.parse(spelling))
    moved, _ = ascended(tiny(), PIXELS[None], target, size, (dy, dx))
    assert float((moved - PIXELS).abs().mean()) == pytest.approx(size, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_without_clipping_a_run_of_one_step_changes_the_pixels_by_the_step_size(seed: int) -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, clip=False, seed=seed, **SHORT))
    assert float((seen.tensor("deepdream") - PIXELS).abs().mean()) == pytest.approx(1.5 / 255, rel=1e-4)


def test_jitter_is_undone_so_that_a_network_blind_to_shifts_dreams_the_same() -> None:
    conv = nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular")
    network = network_of(conv=conv, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    still, shaken = (
        Collected(deepdream.run(network, PICTURE, layer="conv", size=72, octaves=1, steps=5, jitter=jitter))
        for jitter in (0, 32)
    )
    assert torch.allclose(still.tensor("deepdream"), shaken.tensor("deepdream"), atol=1e-5)
    assert not torch.allclose(still.tensor("deepdream"), PIXELS, atol=1e-2)


def test_a_step_runs_nothing_behind_the_layer_it_dreams_at() -> None:
    network = random_network("resnet18")
    target = network.resolve("layer1")
    ran: list[str] = []
    hooks = [
        network.module.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
        for name in ("conv1", "layer1.1.conv2", "layer2.0.conv1", "fc")
    ]
    try:
        ascended(network, PIXELS[None], target, 0.01)
    finally:
        for hook in hooks:
            hook.remove()
    assert ran == ["conv1", "layer1.1.conv2"]


def test_octaves_are_the_floors_of_the_formula_and_the_dream_has_the_size_of_the_picture() -> None:
    seen = Collected(deepdream.run(tiny(), np.zeros((100, 150, 3), np.uint8) + 90, size=150, layer="conv2", steps=1))
    sizes = [tuple(torch.as_tensor(p.image).shape[-2:]) for p in seen.all(Preview)]
    assert sizes == [(int(100 / 1.4**k), int(150 / 1.4**k)) for k in (3, 2, 1, 0)]
    assert tuple(seen.tensor("deepdream").shape) == (3, 100, 150)
    assert [(p.step, p.total) for p in seen.all(Progress)] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_octaves_that_get_too_small_are_left_out_and_it_is_said() -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, layer="conv2", size=72, steps=1))
    assert [p.total for p in seen.all(Progress)] == [2, 2]
    assert any("2 of 4 octaves" in note for note in seen.notes)


@pytest.mark.parametrize("target", ["conv3", "conv3:3", "class:2", "conv3:3@5,6"])
def test_the_objective_rises_for_every_kind_of_target(target: str) -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, target=target, size=72, octaves=2, steps=3))
    assert seen.scores["objective_after"] > seen.scores["objective_before"]


def test_clipped_pixels_stay_in_range_and_free_ones_are_shown_in_range() -> None:
    clipped = Collected(deepdream.run(tiny(), PICTURE, step_size=60, **SHORT))
    free = Collected(deepdream.run(tiny(), PICTURE, step_size=60, clip=False, **SHORT))
    assert 0 <= clipped.tensor("deepdream").min() <= clipped.tensor("deepdream").max() <= 1
    assert free.tensor("deepdream").max() > 1
    shown = torch.as_tensor(free.one(Image, "deepdream").image)
    assert 0 <= shown.min() <= shown.max() <= 1
    assert float((shown == 1).float().mean()) < 0.001


def test_previews_come_as_often_as_asked() -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, layer="conv2", size=72, octaves=1, steps=7, preview_every=3))
    assert len(seen.all(Preview)) == 2
    assert len(seen.all(Progress)) == 7


def test_the_default_layer_is_named_in_a_note() -> None:
    seen = Collected(deepdream.run(tiny(), PICTURE, size=72, octaves=1, steps=1))
    assert any("60 %" in note and "relu2" in note for note in seen.notes)


def test_a_target_without_a_gradient_is_refused() -> None:
    conv = nn.Conv2d(3, 4, 3)
    conv.bias.data.fill_(-1e6)
    network = network_of(conv=conv, relu=nn.ReLU(), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    with pytest.raises(TechniqueError, match="does not answer"):
        list(deepdream.run(network, PICTURE, layer="relu", size=72))


def test_layer_and_target_together_are_refused() -> None:
    with pytest.raises(InvalidParams, match="not both"):
        deepdream.run(tiny(), PICTURE, layer="conv2", target="conv3")
