"""Gradient rules against captum, and against their formulas."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from convscope_sdk.network import Network
from convscope_sdk.rules import GradientRule, Rule
from support.networks import (
    FunctionalNet,
    GeluNet,
    PlainNet,
    ResidualNet,
    TokenNet,
    function_modes,
    network,
    out_of_place,
    picture,
    timm_network,
    torchvision_network,
)

Spelling = Callable[[Tensor], Tensor]

RELUS: dict[str, Spelling] = {
    "F.relu": functional.relu,
    "F.relu in place": lambda x: functional.relu(x, inplace=True),
    "F.relu in place by position": lambda x: functional.relu(x, True),
    "F.relu_": functional.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "x.relu": lambda x: x.relu(),
    "x.relu_": lambda x: x.relu_(),
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
}
RELU6S: dict[str, Spelling] = {
    "F.relu6": functional.relu6,
    "F.relu6 in place": lambda x: functional.relu6(x, inplace=True),
    "F.hardtanh": lambda x: functional.hardtanh(x, 0.0, 6.0),
    "F.hardtanh_": lambda x: functional.hardtanh_(x, 0.0, 6.0),
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 in place": nn.ReLU6(inplace=True),
}


def through(function: Spelling, rule: Rule | None, x: Tensor, arriving: Tensor) -> Any:
    """The value of `function` at `x`, and the gradient that leaves it where `arriving` arrives."""
    leaf = x.clone().requires_grad_()
    if rule is None:
        value = function(leaf * 1)
    else:
        with GradientRule(rule) as rectifiers:
            value = function(leaf * 1)
        assert rectifiers.intercepted == 1
        assert not rectifiers.others
    return value, torch.autograd.grad(value, leaf, arriving)[0]


X = torch.tensor([-2.0, -0.0, 0.0, 0.5, 3.0, 6.0, 7.0, 0.5, 3.0, 7.0, -1.0])
R = torch.tensor([1.0, 1.0, 1.0, 1.0, -2.0, 1.0, 1.5, -1.0, 2.0, -3.0, -4.0])


@pytest.mark.parametrize("spelling", RELUS)
def test_every_spelling_of_relu_follows_the_rules(spelling: str) -> None:
    relu = RELUS[spelling]
    plain, own = through(relu, None, X, R)
    guided_value, guided = through(relu, "guided", X, R)
    deconvnet_value, deconvnet = through(relu, "deconvnet", X, R)
    assert torch.equal(own, R * (X > 0))
    assert torch.equal(guided, R.clamp(min=0) * (X > 0))
    assert torch.equal(deconvnet, R.clamp(min=0))
    assert torch.equal(plain, guided_value)
    assert torch.equal(plain, deconvnet_value)


@pytest.mark.parametrize("spelling", RELU6S)
def test_every_spelling_of_relu6_is_masked_above_too_where_guided_and_not_at_all_in_a_deconvnet(spelling: str) -> None:
    relu6 = RELU6S[spelling]
    plain, own = through(relu6, None, X, R)
    guided_value, guided = through(relu6, "guided", X, R)
    _, deconvnet = through(relu6, "deconvnet", X, R)
    inside = (X > 0) & (X < 6)
    assert torch.equal(own, R * inside)
    assert torch.equal(guided, R.clamp(min=0) * inside)
    assert torch.equal(deconvnet, R.clamp(min=0))
    assert torch.equal(plain, guided_value)


@pytest.mark.parametrize("spelling", ["F.relu in place", "nn.ReLU6"])
def test_a_redirected_gradient_is_the_plain_one_unless_nothing_of_a_picture_passes(spelling: str) -> None:
    function = {**RELUS, **RELU6S}[spelling]
    x = torch.tensor([[-2.0, 1.0, -1.0], [-2.0, -1.0, -3.0], [7.0, 8.0, -1.0]])
    arriving = torch.tensor([[1.0, 2.0, -3.0], [1.0, 0.0, -3.0], [1.0, -2.0, -0.5]])
    (plain, own), (value, redirected) = (through(function, rule, x, arriving) for rule in (None, "redirected"))
    assert torch.equal(plain, value)
    assert torch.equal(redirected[0], own[0])
    assert redirected[1].tolist() == [0.0, 0.0, -3.0]
    assert redirected[2].tolist() == ([1.0, 0.0, -0.5] if "6" in spelling else own[2].tolist())


@given(st.lists(st.tuples(st.floats(-9, 9, width=32), st.floats(-9, 9, width=32)), min_size=1))
def test_a_guided_gradient_is_the_plain_one_where_that_is_positive_and_zero_elsewhere(pairs: list[Any]) -> None:
    x, arriving = torch.tensor(pairs).unbind(1)
    _, plain = through(functional.relu, None, x, arriving)
    _, guided = through(functional.relu, "guided", x, arriving)
    assert torch.equal(guided, plain.clamp(min=0))


def test_an_in_place_relu_under_a_rule_writes_to_its_input() -> None:
    x = torch.tensor([-1.0, 2.0])
    with GradientRule("guided"):
        nn.ReLU(inplace=True)(x)
    assert x.tolist() == [0.0, 2.0]


def test_a_hardtanh_that_is_no_relu_keeps_its_own_gradient_and_is_named() -> None:
    x = torch.tensor([-0.5, 0.5, 2.0], requires_grad=True)
    with GradientRule("deconvnet") as rule:
        y = functional.hardtanh(x)
    (gradient,) = torch.autograd.grad(y, x, -torch.ones(3))
    assert gradient.tolist() == [-1.0, -1.0, 0.0]
    assert rule.intercepted == 0
    assert rule.others == {"hardtanh"}


def test_an_unknown_rule_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(ValueError, match=r"guided.*deconvnet"):
        GradientRule("lrp")  # type: ignore[arg-type]  # refused for just that


def test_it_names_the_non_linearities_that_it_does_not_apply_to_but_no_channel_gates() -> None:
    with (net := network(GeluNet)).gradient_rule("guided") as rule:
        net.logits(picture())
    assert rule.others == {"gelu"}
    assert rule.intercepted == 0
    with (net := network(TokenNet)).gradient_rule("guided") as rule:
        net.logits(picture())
    assert rule.others == {"gelu"}


def test_a_sigmoid_over_a_map_is_a_non_linearity() -> None:
    with GradientRule("guided") as rule:
        torch.sigmoid(torch.zeros(1, 2, 3, 3))
        torch.sigmoid(torch.zeros(1, 2, 1, 1))
    assert rule.others == {"sigmoid"}


def test_no_mode_stays_behind_when_the_forward_pass_fails() -> None:
    def fail() -> None:
        with GradientRule("guided"):
            assert len(function_modes()) == 1
            raise RuntimeError("the network's own")

    with pytest.raises(RuntimeError, match="own"):
        fail()
    assert function_modes() == []


@pytest.mark.parametrize("factory", [PlainNet, ResidualNet, FunctionalNet])
def test_logits_are_the_same_to_the_bit_under_a_rule(factory: Callable[[], nn.Module]) -> None:
    net, pixels = network(factory), picture(batch=2)
    with net.gradient_rule("guided"):
        guided = net.logits(pixels)
    assert torch.equal(guided, net.logits(pixels))


def ours(net: Network, pixels: Tensor, rule: Literal["guided", "deconvnet"], target: int) -> tuple[Tensor, int]:
    """The gradient of a logit with respect to the normalised input, as captum gives it."""
    inputs = net.normalize(pixels).requires_grad_()
    with net.gradient_rule(rule) as rectifiers:
        logits = net.module(inputs)
    assert not rectifiers.others
    return torch.autograd.grad(logits[:, target].sum(), inputs)[0], rectifiers.intercepted


def captums(net: Network, pixels: Tensor, rule: Literal["guided", "deconvnet"], target: int) -> Tensor:
    module = out_of_place(net)  # captum's hooks cannot see through in-place ReLUs
    method = GuidedBackprop(module) if rule == "guided" else Deconvolution(module)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks")
        inputs = net.normalize(pixels).requires_grad_()
        attribution: Tensor = method.attribute(inputs, target=target)
    return attribution


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
@pytest.mark.parametrize(("name", "relus"), [("resnet18", 17), ("alexnet", 7), ("vgg11", 10), ("squeezenet1_1", 26)])
def test_gradients_are_captums_to_the_bit(name: str, relus: int, rule: Literal["guided", "deconvnet"]) -> None:
    net, pixels = torchvision_network(name), picture(size=64)
    mine, intercepted = ours(net, pixels, rule, 7)
    assert intercepted == relus
    assert mine.abs().sum() > 0
    assert torch.equal(mine, captums(net, pixels, rule, 7))


def test_every_functional_relu_of_googlenet_is_intercepted() -> None:
    net = torchvision_network("googlenet")
    assert ours(net, picture(size=64), "guided", 0)[1] == 57


def test_every_functional_relu_of_inception_v3_is_intercepted() -> None:
    net = torchvision_network("inception_v3", size=128)
    assert ours(net, picture(size=128), "guided", 0)[1] == 94


def test_every_relu6_of_efficientnet_lite0_is_intercepted() -> None:
    assert ours(timm_network("tf_efficientnet_lite0"), picture(size=64), "guided", 0)[1] == 33
