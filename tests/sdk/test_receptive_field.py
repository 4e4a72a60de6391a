"""Receptive fields against gradients, published numbers, and what may not be claimed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convscope_sdk.layers import ReceptiveField, probe
from convscope_sdk.network import Network
from support.networks import (
    FunctionalNet,
    GeluNet,
    TokenNet,
    network,
    timm_network,
    torchvision_network,
)


def positive(module: nn.Module) -> nn.Module:
    """Every weight and every statistic positive, so that no path cancels another and no ReLU cuts one."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(0.1, 1.0)
    return module.eval().double().requires_grad_(False)


def reached(module: nn.Module, size: tuple[int, int], row: int, column: int) -> Tensor:
    """Which input pixels the channel sum at that position of a module's output has a gradient at."""
    x = torch.full((1, 3, *size), 0.5, dtype=torch.double, requires_grad=True)
    output = module(x)
    (gradient,) = torch.autograd.grad(output[0, :, row, column].sum(), x)
    return gradient[0].abs().amax(0) > 0


def clipped(field: ReceptiveField, row: int, column: int, size: tuple[int, int]) -> tuple[slice, slice]:
    top, left, bottom, right = field.box(row, column)
    return slice(max(top, 0), min(bottom, size[0])), slice(max(left, 0), min(right, size[1]))


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
small_pairs = st.tuples(st.integers(1, 2), st.integers(1, 2))


@st.composite
def chains(draw: st.DrawFn) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 4))):
        kernel = draw(pairs)
        padding = (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2)))
        kind = draw(st.sampled_from(["conv", "dilated", "same", "average", "padded", "activation"]))
        if kind == "conv":
            layers.append(nn.Conv2d(3, 3, kernel, stride=draw(small_pairs), padding=padding))
        elif kind == "dilated":
            layers.append(nn.Conv2d(3, 3, kernel, dilation=draw(small_pairs), padding=padding, groups=3))
        elif kind == "same":
            layers.append(nn.Conv2d(3, 3, kernel, dilation=draw(small_pairs), padding="same"))
        elif kind == "average":
            layers.append(nn.AvgPool2d(kernel, stride=draw(st.none() | small_pairs), padding=padding))
        elif kind == "padded":
            layers.append(nn.ZeroPad2d(draw(st.tuples(*[st.integers(0, 2)] * 4))))
        else:
            layers += [nn.BatchNorm2d(3), nn.ReLU()]
    return nn.Sequential(*layers)


def field_of(module: nn.Module, size: tuple[int, int]) -> tuple[ReceptiveField, tuple[int, ...]]:
    last = probe(module, torch.zeros(1, 3, *size, dtype=torch.double)).all[-1]
    assert last.receptive_field is not None
    return last.receptive_field, last.output_shape


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@settings(max_examples=40, deadline=None)
@given(chains(), st.data())
def test_a_position_sees_nothing_outside_its_field_and_every_border_of_a_whole_one(
    chain: nn.Sequential, data: st.DataObject
) -> None:
    size = (67, 71)  # more than four windows of three, dilated and strided by two, can see
    module = positive(chain)
    field, (_, height, width) = field_of(module, size)
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    seen = reached(module, size, row, column)
    rows, columns = clipped(field, row, column, size)
    inside = seen[rows, columns].clone()
    seen[rows, columns] = False
    assert not seen.any()
    if tuple(inside.shape) == field.size:  # the box is whole: no padding came between
        assert all(border.any() for border in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


@given(st.lists(st.tuples(pairs, pairs, pairs), min_size=1, max_size=5))
def test_a_chain_follows_the_closed_formula(windows: list[tuple[tuple[int, int], ...]]) -> None:
    field = ReceptiveField()
    for kernel, stride, padding in windows:
        field = field.slide(kernel, stride, padding)
    for axis in (0, 1):
        jumps = [1]
        for _, stride, _ in windows:
            jumps.append(jumps[-1] * stride[axis])
        size = 1 + sum((kernel[axis] - 1) * jump for (kernel, _, _), jump in zip(windows, jumps, strict=False))
        start = -sum(padding[axis] * jump for (_, _, padding), jump in zip(windows, jumps, strict=False))
        assert (field.size[axis], field.stride[axis], field.offset[axis]) == (size, jumps[-1], start)


@pytest.mark.parametrize(
    ("name", "layer", "size", "stride"),
    # From the table of Araujo et al. 2019, https://distill.pub/2019/computing-receptive-fields
    [
        ("alexnet", "features", 195, 32),
        ("vgg16", "features", 212, 32),
        ("inception_v3", "Mixed_7c", 1311, 32),
    ],
)
def test_fields_of_well_known_networks_are_the_published_ones(name: str, layer: str, size: int, stride: int) -> None:
    field = torchvision_network(name, size=96, device="meta").layer(layer).receptive_field
    assert field is not None
    assert (field.size, field.stride) == ((size, size), (stride, stride))


@pytest.mark.parametrize(("kernel", "dilation", "offset"), [(2, 1, 0), (3, 1, -1), (4, 1, -1), (3, 2, -2), (2, 3, -1)])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_padding_to_the_same_size_puts_the_smaller_half_before(kernel: int, dilation: int, offset: int) -> None:
    module = nn.Conv2d(3, 3, kernel, padding="same", dilation=dilation)
    field, _ = field_of(nn.Sequential(module).double(), (16, 16))
    assert field.offset == (offset, offset)
    assert torch.where(reached(positive(module), (16, 16), 8, 8).any(1))[0][0] == 8 + offset


def test_branches_see_what_any_of_them_sees() -> None:
    net = network(FunctionalNet)
    left, right, both = (net.layer(name).receptive_field for name in ("relu_", "relu6", "cat"))
    assert (left, right) == (ReceptiveField((4, 4), (2, 2)), ReceptiveField((8, 8), (2, 2), (-2, -2)))
    assert both == right
    assert left is not None
    assert left.union(ReceptiveField((4, 4), (4, 4))) is None


def test_what_follows_pooling_attention_or_a_gate_sees_everything() -> None:
    gelu = network(GeluNet)
    assert gelu.layer("act").receptive_field == ReceptiveField((4, 4), (4, 4))
    assert gelu.layer("gate").receptive_field is None
    assert gelu.layer("mul").receptive_field is None
    assert gelu.layer("head").receptive_field is None
    tokens = network(TokenNet)
    assert tokens.layer("patch").receptive_field == ReceptiveField((8, 8), (8, 8))
    assert tokens.layer("attention").receptive_field is None


@pytest.mark.parametrize(
    "name", ["stem", "layer1.0.conv1", "layer1.0.add", "layer1.1", "features.0", "bn2", "stages.1", "blocks.3"]
)
def test_no_gradient_leaves_the_field_in_whole_networks(name: str) -> None:
    size = 96
    nets: list[Network] = [
        torchvision_network("resnet18", size=size),
        timm_network("tf_efficientnet_lite0", size=size),
        timm_network("convnext_atto", size=size),
        torchvision_network("shufflenet_v2_x0_5", size=size),
    ]
    found = [net for net in nets if any(layer.name == name for layer in net.layers)]
    for net in found:
        layer = net.layer(name)
        assert layer.receptive_field is not None
        row, column = layer.output_shape[1] // 2, 0
        pixels = torch.rand(1, 3, size, size, requires_grad=True)
        unit = net.activations(pixels, name)[name][0, :, row, column].sum()
        outside = torch.autograd.grad(unit, pixels)[0][0].abs().amax(0)
        outside[clipped(layer.receptive_field, row, column, (size, size))] = 0
        assert outside.sum() == 0


class Written(nn.Module):
    """Writes what sees everything into a map, in ways that are easy to miss."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x)
        total = x.mean((1, 2, 3), keepdim=True)
        if self.way == "index":
            x[:, :1] = total
        elif self.way == "view":
            x[:, :1].add_(total)
        elif self.way == "chunk":
            first, _ = x.chunk(2, 1)
            first.mul_(total)
        elif self.way == "sibling":
            same = x.view(x.shape)
            x.add_(total)
            x = same
        elif self.way == "copy":
            x = x.copy_(total.expand_as(x))
        elif self.way == "flip":
            x = x.flip(2)
        elif self.way == "reflect":
            x = nn.functional.pad(x, (3, 3, 3, 3), mode="reflect")
        else:
            x = torch.cat([x, x], 3)
        return self.conv(x)


@pytest.mark.parametrize("way", ["index", "view", "chunk", "sibling", "copy", "flip", "reflect", "cat along columns"])
def test_no_field_is_claimed_where_one_cannot_be_known(way: str) -> None:
    layers = network(lambda: Written(way)).layers
    assert layers[0].receptive_field == ReceptiveField()
    assert layers[-1].receptive_field is None


def test_boxes_of_neighbours_are_a_stride_apart() -> None:
    field = ReceptiveField((5, 7), (2, 3), (-1, -2))
    boxes: list[Any] = [field.box(0, column) for column in range(3)]
    assert boxes[0] == (-1, -2, 4, 5)
    assert all(right[1] - left[1] == 3 for left, right in pairwise(boxes))
