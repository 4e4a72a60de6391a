"""What the catalog says of a loaded model is what the network says of itself."""

from __future__ import annotations

from typing import Any

import msgspec
import torch
from torch import nn

from convscope_sdk.models import ModelSpec
from convscope_sdk.network import Network
from convscope_server.engine.messages import ModelDetail, ModelInfo
from convscope_server.models.describe import describe


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((self.conv(x) + x).mean((2, 3)))  # type: ignore[no-any-return]  # modules return Any


def detail() -> tuple[Network, ModelDetail]:
    spec = ModelSpec("tiny", "test", Residual, input_size=16, classes=("cat", "dog"), random_weights=True)
    network = Network(spec.build(), spec)
    return network, describe(network, ModelInfo("tiny", "classifier", "test", "two classes"))


def test_it_counts_what_the_network_holds() -> None:
    network, told = detail()
    assert told.parameters == 3 * 3 * 9 + 3 + 2 * 3 + 2
    assert told.size_bytes == 4 * told.parameters == network.size_bytes
    assert (told.input_size, told.classes, told.random_weights) == (16, ("cat", "dog"), True)
    assert (told.mean, told.std) == (network.spec.mean, network.spec.std)
    assert told.weights_digest == network.digest
    assert told.info.description == "two classes"


def test_layers_come_in_order_with_shapes_and_receptive_fields() -> None:
    _, told = detail()
    layers = {layer.name: layer for layer in told.layers}
    assert layers["conv"].kind == "Conv2d"
    assert layers["conv"].output_shape == (3, 16, 16)
    assert layers["conv"].parameters == 84
    assert layers["conv"].receptive_field == ((3, 3), (1, 1), (-1, -1))
    assert layers["add"].functional
    assert told.aliases["first_conv"] == "conv"
    assert told.aliases["logits"] == "head"


def test_it_survives_the_pipe() -> None:
    _, told = detail()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=ModelDetail) == told


def test_a_generator_is_told_with_the_layers_that_can_be_watched() -> None:
    def told(**fields: Any) -> ModelDetail:
        spec = ModelSpec("decoder", "test", lambda: nn.Linear(4, 12), kind="generator", **fields)
        return describe(Network(spec.build(), spec), ModelInfo("decoder", "generator", "test"))

    assert [layer.output_shape for layer in told(code_shape=(4,)).layers] in ([], [(12,)])
    assert (told().layers, told().aliases, told().parameters) == ((), {}, 60)
