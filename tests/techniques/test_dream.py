from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convscope_sdk.target import Target
from convscope_techniques.synthesis.dream import Dream
from convscope_techniques.synthesis.tiling import Tiling
from support.zoo import efficientnet, random_network, tiny

PIXELS = torch.rand(1, 3, 48, 72, generator=torch.Generator().manual_seed(0))


def dream(*targets: str, weights: tuple[float, ...] = (), tile: int = 8192) -> Dream:
    resolved = [tiny().resolve(Target.parse(target), PIXELS) for target in targets]
    return Dream(tiny(), resolved, weights or (1.0,) * len(targets), tiling=Tiling(tile))


@settings(max_examples=20, deadline=None)
@given(
    st.floats(0.01, 100),
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.sampled_from([("conv2",), ("conv2:3",), ("conv3:1@2,2",), ("class:3",), ("conv2", "class:3")]),
)
def test_one_step_changes_the_pixels_by_the_step_size_on_average(
    size: float, dy: int, dx: int, targets: tuple[str, ...]
) -> None:
    moved, _ = dream(*targets).ascended(PIXELS, size, (dy, dx))
    assert float((moved - PIXELS).abs().mean()) == pytest.approx(size, rel=1e-4)


def test_several_targets_count_by_their_weights_and_not_by_how_large_their_layers_are() -> None:
    def change(*targets: str, weights: tuple[float, ...] = ()) -> Tensor:
        return dream(*targets, weights=weights).ascended(PIXELS, 1.0)[0] - PIXELS

    first, second = change("conv2"), change("class:3")
    sums = 2 * first - second
    together = change("conv2", "class:3", weights=(2.0, -1.0))
    assert torch.allclose(together, sums / sums.abs().mean(), rtol=1e-3, atol=1e-4)


def test_a_step_runs_nothing_behind_the_layer_it_dreams_at() -> None:
    network = random_network("resnet18")
    wish = Dream(network, [network.resolve("layer1")], [1.0])
    ran: list[str] = []
    hooks = [
        network.module.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
        for name in ("conv1", "layer1.1.conv2", "layer2.0.conv1", "fc")
    ]
    try:
        wish.ascended(PIXELS, 0.01)
    finally:
        for hook in hooks:
            hook.remove()
    assert ran == ["conv1", "layer1.1.conv2"]


@pytest.mark.parametrize("target", ["conv2", "conv3:2"])
def test_windows_measure_about_what_the_whole_picture_does(target: str) -> None:
    pixels = torch.rand(1, 3, 192, 224, generator=torch.Generator().manual_seed(1))
    (whole,), (windowed,) = (dream(target, tile=tile).measured(pixels) for tile in (8192, 128))
    assert windowed == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize("layer", ["blocks.2", "blocks.4"])
def test_the_gradient_is_no_different_where_windows_meet(layer: str) -> None:
    """Of a real network; without margins the same numbers are around 0.7."""
    network = efficientnet()
    wish = Dream(network, [network.resolve(layer)], [1.0], tiling=Tiling(256))
    pixels = torch.rand(1, 3, 320, 288, generator=torch.Generator().manual_seed(2))
    strength, jump = at_borders(wish, pixels)
    assert strength == pytest.approx(1, abs=0.1)
    assert jump == pytest.approx(1, abs=0.1)


def at_borders(wish: Dream, pixels: Tensor) -> tuple[float, float]:
    """Mean |g| beside the borders and mean |difference| across them, by what they are there from the whole picture."""
    windowed = wish.tiling.assembled(pixels, wish._gradients)[0]
    whole = wish._gradients(pixels)[0]
    borders = torch.tensor(sorted({rows.kept.start for _, rows, _ in wish.tiling.windows(pixels)} - {0}))
    assert len(borders)
    there, here = (
        [
            gradient[:, :, (borders[:, None] + torch.tensor([-1, 0])).flatten()].abs().mean(),
            (gradient[:, :, borders] - gradient[:, :, borders - 1]).abs().mean(),
        ]
        for gradient in (whole, windowed)
    )
    return float(here[0] / there[0]), float(here[1] / there[1])
