"""Captured layer outputs: right in value, in the graph, stopped early, and without a trace."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn import functional

from convscope_sdk.errors import NotApplicable
from convscope_sdk.network import Network
from convscope_sdk.torchvision_ops import ensure_torchvision
from support.networks import (
    EVERY_NET,
    FunctionalNet,
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


def traced(module: nn.Module, inputs: Tensor, names: list[str]) -> dict[str, Tensor]:
    """What torchvision's feature extractor gives for those nodes, each extracted alone."""
    ensure_torchvision()
    from torchvision.models.feature_extraction import create_feature_extractor

    outputs: dict[str, Tensor] = {}
    for name in names:
        with torch.no_grad():
            extractor = create_feature_extractor(module, [name], suppress_diff_warning=True)
            outputs[name] = extractor.eval()(inputs)[name]
    return outputs


NODES = {
    "resnet18": [
        "conv1",
        "bn1",
        "relu",
        "layer1.0.add",
        "layer1.0.relu_1",
        "layer2.0.downsample.1",
        "layer4.1",
        "flatten",
    ],
    "vgg11": ["features.0", "features.1", "features.20", "classifier.4"],
    "googlenet": ["conv1.conv", "conv1.relu", "inception3a.cat", "inception4b.branch2.1.relu", "dropout", "flatten"],
    "squeezenet1_1": ["features.3.expand1x1", "features.3.cat", "features.12", "flatten"],
}


@pytest.mark.parametrize("name", NODES)
def test_captures_are_what_torchvisions_feature_extractor_gives_where_nothing_is_overwritten(name: str) -> None:
    net = torchvision_network(name)
    pixels = picture(size=64, batch=2)
    expected = traced(out_of_place(net), net.normalize(pixels), NODES[name])
    with torch.no_grad():
        together = net.activations(pixels, *NODES[name])
        alone = {node: net.activations(pixels, node)[node] for node in NODES[name]}
    for node in NODES[name]:
        assert torch.equal(together[node], expected[node]), node
        assert torch.equal(alone[node], expected[node]), node


@pytest.mark.parametrize("factory", [PlainNet, ResidualNet])
@pytest.mark.parametrize("grad", [True, False])
def test_no_later_in_place_operation_changes_what_was_captured(factory: Callable[[], nn.Module], grad: bool) -> None:
    net, pixels = network(factory), picture(batch=2)
    names = [layer.name for layer in net.layers]
    with torch.set_grad_enabled(grad):
        expected = {name: net.activations(pixels, name)[name].clone() for name in names}
        together = net.activations(pixels, *names)
        complete, logits = net.activations_and_logits(pixels, *names)
    assert all(torch.equal(together[name], expected[name]) for name in names)
    assert all(torch.equal(complete[name], expected[name]) for name in names)
    assert torch.equal(logits, net.logits(pixels))


@pytest.mark.parametrize("factory", EVERY_NET)
def test_all_layers_at_once_do_not_disturb_the_logits(factory: Callable[[], nn.Module]) -> None:
    net, pixels = network(factory), picture(batch=3)
    names = [layer.name for layer in net.layers]
    captured, logits = net.activations_and_logits(pixels, *names)
    assert list(captured) == names
    if factory is TokenNet:  # PyTorch's fused attention, which rounds otherwise, sees neither gradients nor modes
        assert torch.allclose(logits, net.logits(pixels), atol=1e-6)
    else:
        assert torch.equal(logits, net.logits(pixels))
    for layer in net.layers:
        assert tuple(captured[layer.name].shape[1:]) == layer.output_shape
    assert torch.equal(captured[net.aliases["logits"]], logits)


def test_the_second_call_of_a_module_is_captured_apart_from_the_first() -> None:
    net, pixels = network(ResidualNet), picture()
    both = net.activations(pixels, "layer1.0.relu", "layer1.0.relu_1", "layer1.0")
    assert not torch.equal(both["layer1.0.relu"], both["layer1.0.relu_1"])
    assert torch.equal(both["layer1.0.relu_1"], both["layer1.0"])


def test_attention_is_captured_by_its_first_output() -> None:
    net, pixels = network(TokenNet), picture()
    captured, logits = net.activations_and_logits(pixels, "attention")
    assert captured["attention"].shape == (1, 16, 8)
    assert torch.autograd.grad(logits.sum(), captured["attention"])[0].abs().sum() > 0


class ForItsEffect(nn.Module):
    """Calls an in-place activation without taking what it returns, and writes to the same tensor again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x)
        self.relu(x)
        x += 1
        return x.mean((2, 3))


def test_an_activation_called_for_its_effect_keeps_its_value_and_its_effect() -> None:
    net, pixels = network(ForItsEffect, classes=()), picture()
    captured, logits = net.activations_and_logits(pixels, "conv", "relu", "add")
    assert torch.equal(captured["relu"], captured["conv"].relu())
    assert torch.equal(captured["add"], captured["relu"] + 1)
    assert torch.equal(logits, net.logits(pixels))
    alone, _ = net.activations_and_logits(pixels, "relu")
    assert torch.equal(alone["relu"], captured["relu"])


class Copying(nn.Module):
    """Copies by itself what capturing copies too."""

    def forward(self, x: Tensor) -> Any:
        return (x * 2).clone() + 1


class CopyingTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Copying()

    def forward(self, x: Tensor) -> Any:
        return self.inner(self.inner(x)).mean((2, 3))


def test_the_copies_that_capturing_makes_are_no_nodes() -> None:
    net, pixels = network(CopyingTwice, classes=()), picture()
    captured = net.activations(pixels, "inner", "inner.clone", "inner.clone_1", "inner.add_1")
    inputs = net.normalize(pixels)
    once = inputs * 2 + 1
    assert torch.equal(captured["inner.clone"], inputs * 2)
    assert torch.equal(captured["inner"], once)
    assert torch.equal(captured["inner.clone_1"], once * 2)
    assert torch.equal(captured["inner.add_1"], once * 2 + 1)


# Gradients


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("resnet18", "bn1"),
        ("vgg11", "features.18"),
        ("vgg11", "features.19"),
        ("squeezenet1_1", "features.12.squeeze"),
    ],
)
def test_grad_cam_is_captums_to_the_bit(name: str, layer: str) -> None:
    net, pixels = torchvision_network(name), picture(size=64)
    captured, logits = net.activations_and_logits(pixels, layer)
    gradient = torch.autograd.grad(logits[:, 5].sum(), captured[layer])[0]
    cam = (gradient.mean((2, 3), keepdim=True) * captured[layer]).sum(1, keepdim=True)
    reference = out_of_place(net)
    inputs = net.normalize(pixels).requires_grad_()
    assert torch.equal(cam, LayerGradCam(reference, reference.get_submodule(layer)).attribute(inputs, target=5))


@pytest.mark.parametrize("factory", EVERY_NET)
@pytest.mark.parametrize("from_pixels", [True, False])
def test_gradients_at_every_layer_agree_with_the_gradient_at_the_pixels(
    factory: Callable[[], nn.Module], from_pixels: bool
) -> None:
    net, pixels = network(factory), picture(requires_grad=from_pixels)
    names = [layer.name for layer in net.layers if layer.name.split(".")[-1] != "logits"]
    captured, logits = net.activations_and_logits(pixels, *names)
    gradients = torch.autograd.grad(
        logits[0, 3], [captured[name] for name in names], retain_graph=True, allow_unused=True
    )
    assert all(gradient is not None for gradient in gradients)
    if from_pixels:
        plain = torch.autograd.grad(net.logits(pixels)[0, 3], pixels)[0]
        assert torch.equal(torch.autograd.grad(logits[0, 3], pixels)[0], plain)


def test_the_graph_begins_at_the_layer_where_pixels_need_no_gradient() -> None:
    net = network(PlainNet)
    captured, logits = net.activations_and_logits(picture(), "features.3")
    assert captured["features.3"].is_leaf
    assert captured["features.3"].requires_grad
    assert logits.requires_grad
    with torch.no_grad():
        captured, logits = net.activations_and_logits(picture(), "features.3")
    assert not captured["features.3"].requires_grad
    assert not logits.requires_grad


def test_activations_differentiate_with_respect_to_pixels_and_to_shallower_layers() -> None:
    net, pixels = network(ResidualNet), picture(requires_grad=True)
    captured = net.activations(pixels, "layer1.0.conv1", "layer1.1")
    wrt_pixels, wrt_layer = torch.autograd.grad(captured["layer1.1"].sum(), [pixels, captured["layer1.0.conv1"]])
    reference = pixels.detach().clone().requires_grad_()
    module = out_of_place(net)
    module.layer1(module.stem(net.normalize(reference))).sum().backward()  # type: ignore[operator]  # untyped children
    assert reference.grad is not None
    assert torch.equal(wrt_pixels, reference.grad)
    assert wrt_layer.abs().sum() > 0


# Stopping


class Counted(nn.Module):
    """Three stages, the last of which tells when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.ran: list[int] = []

    def forward(self, x: Tensor) -> Any:
        x = functional.relu(self.first(x))
        try:
            x = self.second(x)
        except Exception:  # noqa: BLE001 - as a careless network would
            x = torch.zeros_like(x)
        self.ran.append(1)
        return self.third(x).mean((2, 3))


@pytest.mark.parametrize("layers", [["first"], ["second", "first"], ["relu"], ["second", "relu"]])
def test_the_pass_stops_at_the_deepest_layer_asked_for(layers: list[str]) -> None:
    net = network(Counted, classes=())
    assert net.layers
    net.module.ran.clear()  # type: ignore[operator,union-attr]  # untyped attribute
    assert list(net.activations(picture(), *layers)) == layers
    assert net.module.ran == []
    net.activations(picture(), *layers, "third")
    assert net.module.ran == [1]


def test_functions_cost_a_mode_and_modules_only_a_hook_each(monkeypatch: pytest.MonkeyPatch) -> None:
    net, seen = network(ResidualNet), []
    stem = net.module.stem

    def forward(x: Tensor) -> Any:
        seen.append((len(function_modes()), sum(bool(m._forward_hooks) for m in net.module.modules())))
        return nn.Conv2d.forward(stem, x)  # type: ignore[arg-type]  # untyped child

    assert net.layers
    monkeypatch.setattr(stem, "forward", forward)
    net.logits(picture())
    net.activations_and_logits(picture(), "layer1", "layer1.0.relu_1")
    net.activations(picture(), "layer1.0.add")
    assert seen[:2] == [(0, 0), (0, 2)]
    assert seen[2][0] == 1


class Fickle(nn.Module):
    """Runs its second convolution for bright pictures only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.bright = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        return (self.bright(y) if x.mean() > -1 else y).mean((2, 3))


def test_a_layer_that_does_not_run_for_a_picture_is_refused_instead_of_stale() -> None:
    net = network(Fickle, classes=())
    assert net.layer("bright")
    assert net.activations(picture(), "bright")
    with pytest.raises(NotApplicable, match="'bright' did not run"):
        net.activations(torch.zeros(1, 3, 32, 32) - 1, "conv", "bright")


# No trace


def assert_untouched(net: Network) -> None:
    for module in net.module.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not module.training
    assert not any(parameter.requires_grad for parameter in net.module.parameters())
    assert torch.is_grad_enabled()
    assert function_modes() == []


@pytest.mark.parametrize("factory", EVERY_NET)
def test_nothing_stays_on_the_network(factory: Callable[[], nn.Module]) -> None:
    net = network(factory)
    names = [layer.name for layer in net.layers]
    net.activations(picture(), names[0])
    net.activations(picture(), *names)
    net.activations_and_logits(picture(), *names)
    assert_untouched(net)


@pytest.mark.parametrize("layers", [["layer1.0.conv1", "layer1.1"], ["layer1.0.add", "layer1.1"]])
def test_nothing_stays_on_a_network_that_fails_on_the_way(layers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(ResidualNet)
    assert net.layers

    def fail(_x: Tensor) -> Tensor:
        raise ArithmeticError("on the way")

    monkeypatch.setattr(net.module.get_submodule("layer1.1.conv2"), "forward", fail)
    for run in (net.activations, net.activations_and_logits):
        with pytest.raises(ArithmeticError, match="on the way"):
            run(picture(), *layers)
        assert_untouched(net)


def test_captured_tensors_die_with_their_last_holder() -> None:
    import gc
    import weakref

    net = network(PlainNet)
    gc.disable()
    try:
        holder = weakref.ref(net.activations(picture(), "features.3")["features.3"])
        assert holder() is None
    finally:
        gc.enable()


def test_two_networks_are_looked_through_in_two_threads_at_once() -> None:
    nets = [network(FunctionalNet, seed=seed) for seed in (0, 1)]
    expected = [net.activations(picture(), "cat")["cat"] for net in nets]
    wrong: list[int] = []

    def look(index: int) -> None:
        for _ in range(20):
            with nets[index].gradient_rule("guided") as rule:
                found = nets[index].activations(picture(), "cat")["cat"]
            if not torch.equal(found, expected[index]) or rule.intercepted != 3:
                wrong.append(index)

    threads = [threading.Thread(target=look, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_network_that_cannot_be_traced_is_captured() -> None:
    net, pixels = timm_network("tf_efficientnet_lite0"), picture(size=64)
    with torch.no_grad():
        captured = net.activations(pixels, "blocks.2", "blocks.4.0.bn1.act", "last_conv")
        reference = net.module
        expected = reference.blocks[:3](reference.bn1(reference.conv_stem(net.normalize(pixels))))  # type: ignore[index,operator]  # untyped children
    assert torch.equal(captured["blocks.2"], expected)
    assert captured["last_conv"].shape == (1, 1280, 2, 2)
