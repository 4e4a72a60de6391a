"""Takes layer outputs out of a forward pass as they are at that moment, and stops it when it has them all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn

from convscope_sdk.errors import NotApplicable
from convscope_sdk.layers import LayerInfo
from convscope_sdk.nodes import Node, NodeMode, first_tensor, tensors_in, with_first

__all__ = ["capture"]


class _Complete(BaseException):
    """Everything asked for has been captured. Not an Exception, so that no network's own handler swallows it."""


def capture(
    module: nn.Module, layers: Iterable[LayerInfo], inputs: Tensor, *, to_the_end: bool = False
) -> tuple[dict[str, Tensor], Any]:
    """The outputs of `layers` by name, and the module's output, or None where the pass was stopped before it.

    The network goes on with a copy of each captured tensor, so that in-place operations after the layer leave the
    captured values alone and a gradient with respect to them is that of everything that follows.

    Args:
        module: The network.
        layers: As found by `probe`; modules cost a hook each, functional nodes a function mode for the pass.
        inputs: What the module is called with.
        to_the_end: Runs the whole network. Captured tensors then require gradients while gradients are enabled:
            where the input asks for none, the graph begins at the layers.

    Raises:
        NotApplicable: a layer was not run, or gave no tensor, for these inputs.
    """
    wanted = {layer.name: layer for layer in layers}
    shelf = _Shelf(wanted.keys(), to_the_end=to_the_end)
    output = None
    with ExitStack() as stack:
        if any(layer.functional for layer in wanted.values()):
            stack.enter_context(_CaptureMode(module, shelf).watching())
        else:
            _hook_modules(module, wanted.values(), shelf, stack)
        stack.enter_context(suppress(_Complete))
        output = module(inputs)
    if missing := [name for name in wanted if name not in shelf.captured]:
        raise NotApplicable(
            f"layer {missing[0]!r} did not run for an input of shape {tuple(inputs.shape)}; it depends on the input"
        )
    return {name: shelf.captured[name] for name in wanted}, output


class _Shelf:
    """Holds what has been captured."""

    def __init__(self, wanted: Iterable[str], *, to_the_end: bool) -> None:
        self.wanted = frozenset(wanted)
        self.captured: dict[str, Tensor] = {}
        self._to_the_end = to_the_end

    def take(self, name: str, sources: Iterable[Tensor], output: Tensor) -> Tensor:
        """What the network goes on with; `sources` are the tensors that the output was made from."""
        if not self._to_the_end and len(self.captured) + 1 == len(self.wanted):
            self.captured[name] = output
            raise _Complete
        # Whoever still holds an input that the output shares memory with may write to it.
        tensor = output.clone() if _shares_memory(output, sources) else output
        if self._to_the_end and torch.is_grad_enabled() and tensor.is_floating_point():
            tensor.requires_grad_()
        self.captured[name] = tensor
        return tensor.clone()


def _shares_memory(output: Tensor, sources: Iterable[Tensor]) -> bool:
    address = output.untyped_storage().data_ptr()
    return any(source.untyped_storage().data_ptr() == address for source in sources)


def _hook_modules(root: nn.Module, layers: Iterable[LayerInfo], shelf: _Shelf, stack: ExitStack) -> None:
    names: dict[str, dict[int, str]] = {}
    for layer in layers:
        names.setdefault(layer.module, {})[layer.call] = layer.name
    for path, by_call in names.items():
        hook = _ModuleHook(by_call, shelf)
        stack.callback(root.get_submodule(path).register_forward_hook(hook, with_kwargs=True).remove)


class _ModuleHook:
    """A forward hook that counts the calls of its module and captures those asked for."""

    def __init__(self, names: Mapping[int, str], shelf: _Shelf) -> None:
        self._names = names
        self._shelf = shelf
        self._calls = 0

    def __call__(self, _module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        name = self._names.get(self._calls)
        self._calls += 1
        tensor = first_tensor(output)
        if name is None or tensor is None:
            return output
        return with_first(output, self._shelf.take(name, tensors_in(args, kwargs), tensor))


class _CaptureMode(NodeMode):
    """Captures functional nodes, and modules on the way, by the names that the probe gave them."""

    def __init__(self, root: nn.Module, shelf: _Shelf) -> None:
        super().__init__(root)
        self._shelf = shelf

    def on_node(self, node: Node, sources: Sequence[Tensor], output: Tensor) -> Tensor:
        return self._shelf.take(node.name, sources, output) if node.name in self._shelf.wanted else output
