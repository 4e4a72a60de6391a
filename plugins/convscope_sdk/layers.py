"""What a network is made of, found by watching one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from convscope_sdk.nodes import Node, NodeMode, is_in_place, operation, tensors_in
from convscope_sdk.receptive_field import ReceptiveField, Sight, propagate

__all__ = ["ALIASES", "LayerInfo", "Layers", "ReceptiveField", "probe"]

ALIASES = ("first_conv", "last_conv", "penultimate", "logits")
"""The names that mean a layer in every network that has such a one."""

_POOLED = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_IDLE = (nn.Identity, nn.Dropout, nn.Dropout2d)
_MAP_NDIM = 3
_TOKENS_NDIM = 2


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One module call or functional node.

    Attributes:
        name: "layer1.0.conv1", the second call of a module "layer1.0.relu_1", a function "layer1.0.add".
        kind: Class of the module ("Conv2d") or name of the function ("add").
        output_shape: Of one picture of the network's evaluation size, without the batch axis: (C, H, W) for maps,
            (N, C) for tokens, (C,) for features.
        parameters: Numbers learned in it, those of its children included; 0 for functions.
        functional: Whether it is a function called in a module's `forward`, not a module.
        receptive_field: What one position sees of the input, or None where it may see everything.
        module: The module that is called, or that calls the function; "" is the network itself.
        call: Which call of that module, from 0; 0 for functions.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    functional: bool
    receptive_field: ReceptiveField | None
    module: str
    call: int = 0

    @property
    def is_spatial(self) -> bool:
        """Whether its output is maps of more than one position, (C, H, W)."""
        return len(self.output_shape) == _MAP_NDIM and self.output_shape[-2:] != (1, 1)


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a network in the order in which they finish, and the aliases that it has."""

    all: tuple[LayerInfo, ...]
    by_name: Mapping[str, LayerInfo]
    aliases: Mapping[str, str]
    output_shape: tuple[int, ...] | None


def probe(module: nn.Module, inputs: Tensor) -> Layers:
    """The layers that run for `inputs`, (1, 3, H, W). Costs about two forward passes, and leaves no trace.

    The aliases: `first_conv` is the first convolution to finish. `last_conv` is the last module to finish with maps
    of more than one position, before global pooling: the outermost, so the block rather than its last activation
    (their outputs are the same). `penultimate` is what goes into the last linear layer, or into the last
    convolution where there is none. `logits` is the network's output. Each is absent where there is no such layer: a
    transformer has no `last_conv`.
    """
    watcher = _Prober(module, inputs)
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad(), watcher.watching():
        output = module(inputs)
    layers = tuple(watcher.found)
    shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else None
    if isinstance(output, Tensor) and (name := watcher.producers.get(output)):
        watcher.aliases["logits"] = name
    aliases = {alias: watcher.aliases[alias] for alias in ALIASES if alias in watcher.aliases}
    return Layers(layers, {layer.name: layer for layer in layers}, aliases, shape)


class _Prober(NodeMode):
    def __init__(self, root: nn.Module, inputs: Tensor) -> None:
        super().__init__(root)
        self.found: list[LayerInfo] = []
        self.aliases: dict[str, str] = {}
        # By identity, and weakly: activations are freed as they would be without us.
        self.producers: MutableMapping[Tensor, str] = WeakIdKeyDictionary()
        self._sights: MutableMapping[Tensor, Sight | None] = WeakIdKeyDictionary()
        self._sights[inputs] = Sight()
        self._feeds_linear = False

    def on_node(self, node: Node, sources: Sequence[Tensor], output: Tensor) -> Tensor:
        layer = self._layer(node, output)
        self.found.append(layer)
        if node.module is not None:
            self._note_feed(node.module, sources)
            self._note_conv(node.module, layer)
        self.producers[output] = node.name
        return output

    def on_function(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        seen = [(tensor, self._sights[tensor]) for tensor in tensors_in(args, kwargs) if tensor in self._sights]
        results = [args[0]] if operation(func) == "setitem" else tensors_in((result,), {})
        for tensor in results if seen else ():
            self._sights[tensor] = propagate(func, args, kwargs, seen, tensor)
            if is_in_place(func, kwargs):
                self._forget_others(tensor)

    def _forget_others(self, written: Tensor) -> None:
        """Other views of what was just written to may now see more than they did."""
        sight = self._sights[written]
        for tensor in list(self._sights):
            if _owner(tensor) is _owner(written) and self._sights[tensor] != sight:
                self._sights[tensor] = None

    def _layer(self, node: Node, output: Tensor) -> LayerInfo:
        if node.module is not None:  # its output was perhaps made where no function mode looks, as by scripted code
            self._sights.setdefault(output, None)
        sight = self._sights.get(output)
        return LayerInfo(
            name=node.name,
            kind=node.kind,
            output_shape=tuple(output.shape[1:]),
            parameters=sum(p.numel() for p in node.module.parameters()) if node.module else 0,
            functional=node.module is None,
            receptive_field=sight.field if sight else None,
            module=node.path,
            call=node.call,
        )

    def _note_feed(self, module: nn.Module, sources: Sequence[Tensor]) -> None:
        linear = isinstance(module, nn.Linear)
        if not (linear or (isinstance(module, nn.Conv2d) and not self._feeds_linear)) or not sources:
            return
        if sources[0] in self.producers:
            self.aliases["penultimate"] = self.producers[sources[0]]
            self._feeds_linear = linear

    def _note_conv(self, module: nn.Module, layer: LayerInfo) -> None:
        if isinstance(module, nn.Conv2d):
            self.aliases.setdefault("first_conv", layer.name)
        if layer.is_spatial and not isinstance(module, _POOLED + _IDLE):
            # Maps of a square input are square; tokens laid out (H, W, C) are not.
            if layer.output_shape[-1] == layer.output_shape[-2]:
                self.aliases["last_conv"] = layer.name
        elif len(layer.output_shape) == _TOKENS_NDIM:
            self.aliases.pop("last_conv", None)  # the maps were only on the way to tokens


def _owner(tensor: Tensor) -> Tensor:
    """The tensor whose memory this one is a view of, or itself."""
    base: Tensor | None = tensor._base  # noqa: SLF001 - torch has no public name for it
    return tensor if base is None else base
