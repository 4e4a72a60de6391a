"""The lens: what it says about a network, targets resolved and scored."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convscope_sdk.errors import InvalidTarget, NotApplicable, UnknownName
from convscope_sdk.models import CodeFacts, ModelSpec
from convscope_sdk.network import Network
from convscope_sdk.target import Target
from support.networks import (
    CLASSES,
    LABELS,
    GeluNet,
    PlainNet,
    ResidualNet,
    TokenNet,
    network,
    picture,
    timm_network,
)


def test_a_loaded_network_is_ready_to_look_at() -> None:
    module = ResidualNet().train()
    net = Network(module, ModelSpec("mine", "tests", ResidualNet, input_size=48, classes=LABELS))
    assert net.module is module
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert (net.name, net.input_size, net.classes, net.random_weights) == ("mine", 48, LABELS, False)
    assert net.device == torch.device("cpu")
    assert "mine" in repr(net)


def test_it_counts_parameters_and_bytes_buffers_included() -> None:
    net = network(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    assert net.parameters_count == 3 * 4 * 9 + 4 + 4 + 4
    assert net.size_bytes == (net.parameters_count + 8) * 4 + 8


def test_the_digest_is_of_names_and_bytes() -> None:
    net = network(lambda: nn.BatchNorm2d(2))
    expected = hashlib.sha256()
    for name, tensor in net.module.state_dict().items():
        expected.update(name.encode())
        expected.update(tensor.numpy().tobytes())
    assert net.digest == f"sha256:{expected.hexdigest()}"
    assert network(PlainNet).digest == network(PlainNet).digest != network(PlainNet, seed=1).digest


def test_half_precision_weights_have_a_digest() -> None:
    assert network(lambda: PlainNet().bfloat16()).digest != network(PlainNet).digest


def test_it_owns_the_normalisation() -> None:
    spec = ModelSpec("n", "tests", PlainNet, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0), input_size=32)
    net = Network(PlainNet(), spec)
    pixels = torch.ones(2, 3, 4, 5)
    assert torch.allclose(net.normalize(pixels)[1, :, 3, 4], torch.tensor([0.9, 0.4, 0.175]))
    pixels = picture()
    assert torch.equal(net.logits(pixels), net.module(net.normalize(pixels)))


def test_predictions_are_of_one_row_and_in_order() -> None:
    net = network(PlainNet)
    logits = torch.zeros(CLASSES)
    logits[2], logits[7] = 3.0, 2.0
    top = net.predictions(logits, 3)
    assert [(index, label) for index, label, _ in top[:2]] == [(2, "Egyptian cat"), (7, "red wine")]
    assert top[0][2] == pytest.approx(float(logits.softmax(0)[2]))
    assert net.predictions(logits[None], 3) == top
    assert len(net.predictions(logits, 99)) == CLASSES
    with pytest.raises(ValueError, match="one row"):
        net.predictions(torch.zeros(2, CLASSES))


def test_labels_fall_back_to_the_index() -> None:
    assert network(PlainNet, classes=()).label(285) == "class 285"
    assert network(PlainNet).label(5) == "espresso"


def test_what_is_no_classifier_has_no_logits() -> None:
    net = network(lambda: nn.Sequential(nn.Conv2d(3, 3, 1)), classes=())
    for ask in (net.logits, lambda pixels: net.resolve("top1", pixels), lambda pixels: net.score(pixels, "class:0")):
        with pytest.raises(NotApplicable, match="no classifier"):
            ask(picture())
    with pytest.raises(NotApplicable, match="no classifier"):
        net.resolve("class:1")
    assert net.resolve("first_conv:1").channel == 1


def painter(code_shape: tuple[int, ...] = (4,), codes: CodeFacts | None = None) -> Network:
    module = nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 2, 2)), nn.Sigmoid())
    module.register_buffer("spread", torch.tensor([1.0, 2.0, 3.0, 4.0]))
    return Network(module, ModelSpec("g", "tests", PlainNet, kind="generator", code_shape=code_shape, codes=codes))


def test_a_generator_makes_pictures_of_codes_and_can_be_differentiated_through() -> None:
    code = torch.rand(5, 4, requires_grad=True)
    pixels = painter().generate(code)
    assert pixels.shape == (5, 3, 2, 2)
    assert torch.autograd.grad(pixels.sum(), code)[0].abs().min() > 0


def test_how_far_units_of_a_code_spread_is_one_or_a_tensor_of_the_module() -> None:
    assert painter().code_sigma.tolist() == [1, 1, 1, 1]
    assert painter(codes=CodeFacts(sigma="spread")).code_sigma.tolist() == [1, 2, 3, 4]
    assert painter((2, 4), CodeFacts(sigma="spread")).code_sigma.shape == (2, 4)


@pytest.mark.parametrize("asked", [lambda net: net.generate(torch.rand(1, 4)), lambda net: net.code_sigma])
def test_what_makes_no_pictures_of_codes_says_so(asked: Callable[[Network], object]) -> None:
    with pytest.raises(NotApplicable, match="of kind generator"):
        asked(network(PlainNet))
    with pytest.raises(NotApplicable, match="code_shape"):
        asked(painter(()))


def test_a_generator_of_something_else_than_pictures_is_refused() -> None:
    net = Network(nn.Linear(4, 12), ModelSpec("g", "tests", PlainNet, kind="generator", code_shape=(4,)))
    with pytest.raises(NotApplicable, match=r"gives \(1, 12\)"):
        net.generate(torch.rand(1, 4))


def test_a_generator_has_no_layers_to_look_into() -> None:
    net = Network(nn.Linear(4, 12), ModelSpec("g", "tests", PlainNet, kind="generator"))
    with pytest.raises(NotApplicable, match="generator"):
        _ = net.layers


# Targets


@pytest.mark.parametrize(
    ("spelling", "text"),
    [
        (3, "class:3"),
        ("class:3", "class:3"),
        ("3-4", "3-4"),
        ('class:"Egyptian cat"', "class:2"),
        ("class:eGYPTIAN", "class:2"),
        ('class:"tabby cat"', "class:3"),
        ("class:tabby", "class:3"),
        ('class:"tinca tinca"', "class:0"),
        ('class:"red w"', "class:7"),
        ("class:espresso-class:moped", "5-6"),
        ("layer1.0.add", "layer1.0.add"),
        ("last_conv", "layer1"),
        ("last_conv:7", "layer1:7"),
        ("first_conv:7@15,15", "stem:7@15,15"),
        ("penultimate:7", "flatten:7"),
        ("logits:9", "fc:9"),
    ],
)
def test_targets_resolve_to_their_canonical_form(spelling: str | int, text: str) -> None:
    resolved = network(ResidualNet).resolve(spelling)
    assert resolved.text == text
    assert Target.parse(text) == resolved
    assert network(ResidualNet).resolve(resolved) == resolved


@pytest.mark.parametrize(
    ("spelling", "error", "message"),
    [
        ("class:10", InvalidTarget, "10 classes, 0 to 9"),
        ("3-10", InvalidTarget, "10 classes, 0 to 9"),
        ("top1", InvalidTarget, "give one"),
        ("class:crane", InvalidTarget, "class:1 .*class:4 "),
        ("class:red", InvalidTarget, "class:7 .*class:8 "),
        ('class:"egyptain cat"', UnknownName, "Egyptian cat"),
        ("layer1.0.ad", UnknownName, "layer1.0.add"),
        ("espresso", UnknownName, 'class:"espresso"'),
        ("stem:8", InvalidTarget, "8 channels, 0 to 7"),
        ("fc:10", InvalidTarget, "10 channels, 0 to 9"),
        ("stem:0@16,0", InvalidTarget, "16 rows and 16 columns"),
        ("stem:0@0,16", InvalidTarget, "16 rows and 16 columns"),
        ("fc:0@0,0", InvalidTarget, "no rows and columns"),
    ],
)
def test_targets_that_mean_nothing_are_refused_with_what_there_is(
    spelling: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        network(ResidualNet).resolve(spelling)


def test_a_label_without_known_labels_is_refused_with_a_way_out() -> None:
    with pytest.raises(UnknownName, match="write class:285"):
        network(PlainNet, classes=()).resolve("class:cat")


def test_class_indices_are_bounded_by_the_output_where_labels_are_unknown() -> None:
    net = network(PlainNet, classes=())
    assert net.resolve(9).index == 9
    with pytest.raises(InvalidTarget, match="0 to 9"):
        net.resolve(10)


def test_ranks_become_classes_with_one_forward_pass_or_with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    net, pixels = network(PlainNet), picture()
    logits = net.logits(pixels)
    order = logits[0].argsort(descending=True).tolist()
    assert [net.resolve(f"top{rank}", pixels).index for rank in (1, 2, 10)] == [order[0], order[1], order[9]]
    with pytest.raises(InvalidTarget, match="10 classes"):
        net.resolve("top11", pixels)
    with pytest.raises(InvalidTarget, match="batch of 2"):
        net.resolve("top1", picture(batch=2))
    monkeypatch.setattr(net.module, "forward", None)
    assert net.resolve("top2", pixels, logits=logits).text == f"class:{order[1]}"


def test_positions_are_bounded_by_the_pictures_own_size() -> None:
    net = network(ResidualNet)
    assert net.resolve("stem:0@31,31", picture(size=64)).position == (31, 31)
    with pytest.raises(InvalidTarget, match="8 rows and 8 columns"):
        net.resolve("stem:0@8,0", picture(size=16))


def test_a_layer_whose_alias_is_absent_is_refused() -> None:
    net = network(TokenNet)
    for ask in (net.layer, net.resolve, lambda name: net.activations(picture(), name)):
        with pytest.raises(NotApplicable, match="has no last_conv"):
            ask("last_conv")


def test_layers_are_found_by_name_and_alias() -> None:
    net = network(ResidualNet)
    assert net.layer("last_conv") is net.layer("layer1")
    with pytest.raises(UnknownName) as caught:
        net.layer("layer1.0.conv3")
    assert "layer1.0.conv1" in caught.value.metadata["near"]
    assert caught.value.reason == "LAYER_NOT_FOUND"


def test_activations_are_keyed_by_the_name_asked_for() -> None:
    net = network(ResidualNet)
    captured = net.activations(picture(), "last_conv", "layer1", "stem")
    assert list(captured) == ["last_conv", "layer1", "stem"]
    assert torch.equal(captured["last_conv"], captured["layer1"])
    assert net.activations(picture()) == {}


def test_networks_whose_layers_have_numbers_for_names_have_aliases() -> None:
    net = network(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), classes=())
    target = net.resolve("last_conv:3@1,2")
    assert (target.layer, target.text) == ("0", "0:3@1,2")
    assert net.score(picture(), target).shape == (1,)


# Scores


def definition(net: Network, pixels: Tensor, target: Target) -> Tensor:
    """Scores by their definitions, from one pass over everything, item by item."""
    logits = net.logits(pixels)
    if target.kind == "class":
        return torch.stack([row[target.index] for row in logits])
    if target.kind == "contrast":
        assert target.minus is not None
        return torch.stack([row[target.index] - row[target.minus.index] for row in logits])
    assert target.layer is not None
    values = []
    for item in net.activations(pixels, target.layer)[target.layer]:
        if target.channel is None:
            values.append(0.5 * item.pow(2).sum())
            continue
        channel = item[:, target.channel] if item.ndim == 2 else item[target.channel]
        values.append(channel.mean() if target.position is None else channel[target.position])
    return torch.stack(values)


SCORED: list[tuple[Callable[[], nn.Module], str]] = [
    *(
        (ResidualNet, spelling)
        for spelling in ("class:3", "3-4", "layer1.0.add", "stem:2", "layer1:2@3,4", "fc:3", "logits")
    ),
    *((TokenNet, spelling) for spelling in ("norm", "norm:7", "attention:2", "patch:1@3,3")),
    *((GeluNet, spelling) for spelling in ("mul:4", "norm", "class:0")),
]


@pytest.mark.parametrize(("factory", "spelling"), SCORED)
def test_a_score_is_its_definition_item_by_item_and_differentiable(
    factory: Callable[[], nn.Module], spelling: str
) -> None:
    net, pixels = network(factory), picture(batch=3, requires_grad=True)
    target = net.resolve(spelling)
    score = net.score(pixels, spelling)
    assert score.shape == (3,)
    assert torch.allclose(score, definition(net, pixels, target), rtol=1e-5)
    gradient = torch.autograd.grad(score[1], pixels)[0].flatten(1).abs().sum(1)
    assert gradient[1] > 0
    assert gradient[0] == gradient[2] == 0


@pytest.mark.parametrize("spelling", ["class:3", "3-4", "layer1.0.add", "stem:2", "layer1:2@3,4"])
def test_a_target_is_worth_the_same_from_tensors_at_hand(spelling: str) -> None:
    net, pixels = network(ResidualNet), picture(batch=2)
    target = net.resolve(spelling)
    activations, logits = net.activations_and_logits(pixels, *([target.layer] if target.layer else []))
    assert torch.equal(net.target_value(target, logits=logits, activations=activations), net.score(pixels, target))


def test_a_target_without_its_tensors_or_unresolved_is_refused() -> None:
    net, pixels = network(ResidualNet), picture()
    logits = net.logits(pixels)
    with pytest.raises(InvalidTarget, match="needs logits"):
        net.target_value(net.resolve("class:3"))
    with pytest.raises(InvalidTarget, match="needs the output of layer 'stem'"):
        net.target_value(net.resolve("stem:3"), logits=logits, activations={"fc": logits})
    for spelling in ("top1", "class:espresso"):
        with pytest.raises(InvalidTarget, match="resolved"):
            net.target_value(Target.parse(spelling), logits=logits)


def test_score_takes_ranks_and_labels_without_a_second_forward_pass() -> None:
    net, pixels = network(PlainNet), picture()
    logits = net.logits(pixels)
    assert net.score(pixels, "top1") == logits.max()
    assert net.score(pixels, "class:espresso") == logits[0, 5]


def test_a_score_out_of_bounds_is_refused() -> None:
    net = network(ResidualNet)
    for spelling in ("stem:0@16,0", "stem:8", "class:10"):
        with pytest.raises(InvalidTarget):
            net.score(picture(), spelling)
    assert net.score(picture(size=64), "stem:0@31,0").shape == (1,)


class Folded(nn.Module):
    """Folds positions into the batch, as windowed attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Any:
        pieces = x.permute(0, 2, 3, 1).reshape(-1, 3)
        return self.inner(pieces).reshape(len(x), -1, 4).mean(1)


def test_a_layer_that_mixes_pictures_and_positions_has_no_score_for_each() -> None:
    with pytest.raises(InvalidTarget, match="mixes pictures"):
        network(Folded, classes=()).score(picture(batch=2), "inner:1")


@functools.cache
def residual() -> Network:
    return network(ResidualNet)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 20))
def test_whatever_resolves_also_scores(row: int, column: int, channel: int) -> None:
    net = residual()
    spelling = f"layer1.0.add:{channel}@{row},{column}"
    if channel < 8 and row < 16 and column < 16:
        assert net.score(picture(), net.resolve(spelling, picture())).isfinite().all()
    else:
        with pytest.raises(InvalidTarget):
            net.resolve(spelling, picture())
        with pytest.raises(InvalidTarget):
            net.score(picture(), spelling)


def test_a_large_network_resolves_and_scores() -> None:
    net, pixels = timm_network("tf_efficientnet_lite0"), picture(size=64)
    target = net.resolve("blocks.2:17@3,3", pixels)
    assert net.score(pixels, target).shape == (1,)
    assert net.resolve("last_conv:1279").text == "bn2:1279"
