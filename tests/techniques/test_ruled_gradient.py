from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope_sdk.errors import NotApplicable
from convscope_sdk.target import Target
from convscope_techniques.attribution.ruled_gradient import gradient_picture, ruled_gradient
from support.networks import FunctionalNet, GeluNet, PlainNet, ResidualNet, TokenNet, function_modes, network, picture
from support.zoo import network_of

TOP = Target.parse("top1")


@pytest.mark.parametrize(("factory", "calls"), [(PlainNet, 3), (ResidualNet, 4), (FunctionalNet, 3)])
def test_every_relu_call_is_intercepted_and_counted_twice_over(factory: type[nn.Module], calls: int) -> None:
    found = ruled_gradient(network(factory), picture(), TOP, "guided")
    assert found.calls == (calls, calls)
    assert not found.others


@pytest.mark.parametrize("factory", [GeluNet, TokenNet])
def test_a_network_without_relus_is_refused_and_what_applies_is_named(factory: type[nn.Module]) -> None:
    with pytest.raises(NotApplicable, match=r"has no ReLU .*gelu.* take saliency, smoothgrad"):
        ruled_gradient(network(factory), picture(), TOP, "guided")
    assert not function_modes()


def test_on_the_way_to_a_unit_only_the_relus_before_it_count() -> None:
    found = ruled_gradient(network(PlainNet), picture(), Target.parse("features.3:2"), "deconvnet")
    assert found.calls == (1, 1)
    assert found.pools == 1


def test_a_unit_before_any_relu_gets_its_plain_gradient_and_that_is_said() -> None:
    lens, pixels = network(PlainNet), picture()
    found = ruled_gradient(lens, pixels, Target.parse("features.0:2@5,5"), "guided")
    leaf = pixels.clone().requires_grad_()
    (plain,) = torch.autograd.grad(lens.score(leaf, "features.0:2@5,5").sum(), leaf)
    assert torch.equal(found.gradient, plain)
    notes = [getattr(event, "text", "") for event in found.applicability()]
    assert any("this is its plain gradient" in note for note in notes)


def test_where_other_non_linearities_are_mixed_in_they_are_named() -> None:
    mixed = network_of(
        conv=nn.Conv2d(3, 4, 3), relu=nn.ReLU(), conv2=nn.Conv2d(4, 4, 3), swish=nn.Hardswish(),
        pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(4, 3),
    )  # fmt: skip
    found = ruled_gradient(mixed, picture(), TOP, "guided")
    notes = [getattr(event, "text", "") for event in found.applicability()]
    assert found.calls == (1, 1)
    assert any(note.startswith("hardswish kept") and "only in part" in note for note in notes)


def test_values_are_those_of_the_plain_network_to_the_bit() -> None:
    lens, pixels = network(PlainNet), picture()
    assert torch.equal(ruled_gradient(lens, pixels, TOP, "guided").explained.logits, lens.logits(pixels))


def test_the_picture_is_grey_where_the_gradient_is_zero_and_spans_black_to_white() -> None:
    gradient = torch.zeros(3, 20, 20)
    gradient[0, :10], gradient[1, :10] = 2.0, -2.0
    drawn, limit = gradient_picture(gradient)
    assert limit == 2.0
    assert drawn[0, 0, 0] == 1
    assert drawn[1, 0, 0] == 0
    assert (drawn[:, 10:] == 0.5).all()


@pytest.mark.parametrize("lit", [0, 1])
def test_a_gradient_that_is_zero_nearly_everywhere_can_be_drawn(lit: int) -> None:
    gradient = torch.zeros(3, 20, 20)
    gradient[0, 0, 0] = lit
    drawn, limit = gradient_picture(gradient)
    assert limit == lit
    assert drawn[0, 0, 0] == 0.5 + lit / 2
