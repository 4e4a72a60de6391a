"""Johnson's network as PyTorch's example fast_neural_style computes it, written again with functions alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from convscope_techniques.texture.style_net import STYLE_NET, StyleNet

State = dict[str, Tensor]


def example_state(seed: int = 0) -> State:
    """A checkpoint of the example's layout, with the running statistics that its older files have."""
    generator = torch.Generator().manual_seed(seed)
    convolutions = [
        ("conv1.conv2d", 32, 3, 9),
        ("conv2.conv2d", 64, 32, 3),
        ("conv3.conv2d", 128, 64, 3),
        *((f"res{block}.conv{part}.conv2d", 128, 128, 3) for block in range(1, 6) for part in (1, 2)),
        ("deconv1.conv2d", 64, 128, 3),
        ("deconv2.conv2d", 32, 64, 3),
        ("deconv3.conv2d", 3, 32, 9),
    ]
    norms = [
        ("in1", 32),
        ("in2", 64),
        ("in3", 128),
        *((f"res{block}.in{part}", 128) for block in range(1, 6) for part in (1, 2)),
        ("in4", 64),
        ("in5", 32),
    ]
    state = {}
    for name, out, into, kernel in convolutions:
        state[f"{name}.weight"] = (
            torch.randn(out, into, kernel, kernel, generator=generator) / (into * kernel**2) ** 0.5
        )
        state[f"{name}.bias"] = torch.randn(out, generator=generator)
    for name, channels in norms:
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(channels, generator=generator)
        state[f"{name}.bias"] = torch.randn(channels, generator=generator)
        state[f"{name}.running_mean"] = torch.full((channels,), 99.0)
        state[f"{name}.running_var"] = torch.full((channels,), 99.0)
    return state


def example(state: State, x: Tensor) -> Tensor:
    """(B, 3, H, W) of values from 0 to 255, painted."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = state[f"{name}.conv2d.weight"], state[f"{name}.conv2d.bias"]
        return functional.conv2d(functional.pad(x, [weight.shape[-1] // 2] * 4, "reflect"), weight, bias, stride)

    def norm(name: str, x: Tensor) -> Tensor:
        return functional.instance_norm(x, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"])

    def up(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    x = norm("in1", conv("conv1", x)).relu()
    x = norm("in2", conv("conv2", x, 2)).relu()
    x = norm("in3", conv("conv3", x, 2)).relu()
    for block in (f"res{number}" for number in range(1, 6)):
        x = x + norm(f"{block}.in2", conv(f"{block}.conv2", norm(f"{block}.in1", conv(f"{block}.conv1", x)).relu()))
    x = norm("in4", conv("deconv1", up(x))).relu()
    x = norm("in5", conv("deconv2", up(x))).relu()
    return conv("deconv3", x)


def test_a_checkpoint_of_the_example_fits_and_paints_the_same() -> None:
    state = example_state()
    module = StyleNet()
    module.load_state_dict(dict(STYLE_NET.adapt(state)))
    pixels = 255 * torch.rand(2, 3, 36, 52, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(module(pixels), example(state, pixels), rtol=1e-4, atol=1e-3)


def test_the_names_are_the_examples_and_no_others() -> None:
    kept = STYLE_NET.adapt(example_state())
    assert kept.keys() == StyleNet().state_dict().keys()
