"""Layers: their names against torchvision's tracer, and what is said of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.proxy import TraceError

from convscope_sdk.layers import LayerInfo, ReceptiveField
from convscope_sdk.torchvision_ops import ensure_torchvision
from support.networks import (
    EVERY_NET,
    FunctionalNet,
    GeluNet,
    PlainNet,
    ResidualNet,
    TokenNet,
    function_modes,
    network,
    timm_network,
    torchvision_network,
)


def nodes_of(module: nn.Module) -> list[str]:
    """torchvision's names of the nodes that run in evaluation mode, without the input."""
    ensure_torchvision()
    from torchvision.models.feature_extraction import get_graph_node_names

    names: list[str] = get_graph_node_names(module, suppress_diff_warning=True)[1]
    return names[1:]


def is_subsequence(short: list[str], long: list[str]) -> bool:
    rest = iter(long)
    return all(name in rest for name in short)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "googlenet", "squeezenet1_1", "densenet121"])
def test_nodes_have_torchvisions_names_in_torchvisions_order(name: str) -> None:
    net = torchvision_network(name)
    names = [layer.name for layer in net.layers]
    assert is_subsequence(nodes_of(net.module), names)
    assert len(set(names)) == len(names)
    functions = {layer.name for layer in net.layers if layer.functional}
    assert functions <= set(nodes_of(net.module))


@pytest.mark.parametrize("factory", [PlainNet, ResidualNet, FunctionalNet])
def test_nodes_of_small_networks_have_torchvisions_names_and_containers_come_besides(
    factory: Callable[[], nn.Module],
) -> None:
    net = network(factory)
    names = [layer.name for layer in net.layers]
    containers = {path for path, module in net.module.named_modules() if list(module.children())}
    assert [name for name in names if name not in containers] == nodes_of(net.module)


def test_a_network_that_cannot_be_traced_has_its_layers_too() -> None:
    net = timm_network("tf_efficientnet_lite0")
    with pytest.raises(TraceError):
        nodes_of(net.module)
    assert net.layer("blocks.4").output_shape == (112, 4, 4)
    assert net.aliases == {
        "first_conv": "conv_stem",
        "last_conv": "bn2",
        "penultimate": "global_pool",
        "logits": "classifier",
    }


def test_a_layer_says_what_it_is() -> None:
    net = network(ResidualNet)
    block = net.layer("layer1.1")
    assert block == LayerInfo(
        "layer1.1", "Block", (8, 16, 16), 1168, False, ReceptiveField((19, 19), (2, 2), (-9, -9)), "layer1.1"
    )
    add = net.layer("layer1.0.add")
    assert (add.kind, add.functional, add.parameters, add.module) == ("add", True, 0, "layer1.0")
    again = net.layer("layer1.0.relu_1")
    assert (again.kind, again.functional, again.module, again.call) == ("ReLU", False, "layer1.0.relu", 1)
    assert net.layer("fc").output_shape == (10,)
    assert net.layer("fc").receptive_field is None
    assert net.layer("stem").is_spatial
    assert not net.layer("avgpool").is_spatial


def test_layers_come_in_the_order_in_which_they_finish() -> None:
    names = [layer.name for layer in network(PlainNet).layers]
    assert names.index("features.0") < names.index("features.5") < names.index("features") < names.index("flatten")


@pytest.mark.parametrize(
    ("factory", "aliases"),
    [
        (
            PlainNet,
            {
                "first_conv": "features.0",
                "last_conv": "features",
                "penultimate": "classifier.1",
                "logits": "classifier",
            },
        ),
        (ResidualNet, {"first_conv": "stem", "last_conv": "layer1", "penultimate": "flatten", "logits": "fc"}),
        (FunctionalNet, {"first_conv": "conv1", "last_conv": "right", "penultimate": "mean", "logits": "fc"}),
        (GeluNet, {"first_conv": "stem", "last_conv": "act", "penultimate": "mean", "logits": "head"}),
        (TokenNet, {"first_conv": "patch", "penultimate": "mean", "logits": "head"}),
    ],
)
def test_aliases_follow_their_rules(factory: Callable[[], nn.Module], aliases: dict[str, str]) -> None:
    assert network(factory).aliases == aliases


@pytest.mark.parametrize(
    ("name", "last_conv", "penultimate"),
    [
        ("resnet18", "layer4", "flatten"),
        ("squeezenet1_1", "classifier.2", "classifier.0"),
        ("swin_t", "permute", "flatten"),
    ],
)
def test_aliases_of_torchvisions_networks(name: str, last_conv: str, penultimate: str) -> None:
    aliases = torchvision_network(name).aliases
    assert (aliases["last_conv"], aliases["penultimate"]) == (last_conv, penultimate)


def test_aliases_of_convnext() -> None:
    aliases = timm_network("convnext_atto").aliases
    assert (aliases["last_conv"], aliases["penultimate"], aliases["logits"]) == ("stages", "head.drop", "head")


class Collision(nn.Module):
    """A module called twice beside one whose own name is what the second call would get."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.conv_1 = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Any:
        return self.conv_1(self.conv(self.conv(x)))


def test_a_modules_own_name_is_never_taken_by_a_second_call() -> None:
    layers = network(Collision).layers
    assert [(layer.name, layer.module, layer.call) for layer in layers] == [
        ("conv", "conv", 0),
        ("conv_2", "conv", 1),
        ("conv_1", "conv_1", 0),
    ]


@pytest.mark.parametrize("factory", EVERY_NET)
def test_probing_leaves_no_trace(factory: Callable[[], nn.Module]) -> None:
    net = network(factory)
    before = torch.get_rng_state()
    digest = net.digest
    assert net.layers
    assert torch.equal(torch.get_rng_state(), before)
    assert digest == network(factory).digest
    for module in net.module.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module.training
    assert torch.is_grad_enabled()
    assert function_modes() == []


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.drawn = nn.Dropout()

    def forward(self, x: Tensor) -> Any:
        torch.rand(3)
        self.conv(x)
        raise RuntimeError("the network's own error")


def test_probing_a_network_that_fails_leaves_no_trace_either() -> None:
    net = network(Failing)
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="own error"):
        _ = net.layers
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.module.modules())
    assert torch.is_grad_enabled()
    assert function_modes() == []
