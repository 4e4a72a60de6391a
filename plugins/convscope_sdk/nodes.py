"""The nodes of one forward pass: every module call and every function outside torch.nn's modules, by name.

Names are those of `torchvision.models.feature_extraction.get_graph_node_names`, found by running instead of by
tracing, so that networks with data-dependent Python have them too. Two deviations, both to the good: containers
are nodes ("layer1.0" is the block's output), and a module whose own name ends in a number keeps it. What gives no
tensor, such as arithmetic on sizes, is not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["Node", "NodeMode", "first_tensor", "is_in_place", "operation", "tensors_in", "with_first"]

# A function mode cannot tell an operator from the method behind it, so the method has the operator's name.
_OPERATORS: Mapping[str, str] = {
    **{f"{name}_": name for name in ("add", "sub", "mul", "pow")},
    **{f"__r{name}__": name for name in ("add", "sub", "mul", "pow", "mod", "matmul", "truediv", "floordiv")},
    **dict.fromkeys(("div", "div_", "__rdiv__"), "truediv"),
    **dict.fromkeys(("floor_divide", "floor_divide_"), "floordiv"),
    **dict.fromkeys(("remainder", "remainder_"), "mod"),
    "__get__": "getattr",
}


class Node(NamedTuple):
    """One module call or function of a forward pass.

    Attributes:
        name: Unique in the pass.
        kind: Class of the module, or name of the function.
        path: Of the module that is called, or that calls the function; "" is the network itself.
        call: Which call of that module, from 0; 0 for functions.
        module: The module that is called; None for functions.
    """

    name: str
    kind: str
    path: str
    call: int = 0
    module: nn.Module | None = None


class NodeMode(TorchFunctionMode):
    """Names what runs inside `watching()`; subclasses say in `on_node` what to do with it.

    Thread-local, like every function mode; the hooks that tell it which module is running are on the module, so
    one module is watched by one thread at a time.
    """

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self._root = root
        self._paths = {id(module): path for path, module in root.named_modules() if path}
        self._modules = frozenset(self._paths.values())
        self._frames: list[tuple[str, bool]] = [("", False)]
        self._uses: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()

    def on_node(self, node: Node, sources: Sequence[Tensor], output: Tensor) -> Tensor:
        """What the network goes on with in place of `output`; `sources` are the tensors that the node was given."""
        raise NotImplementedError

    def on_function(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Called for every function, node or not, before `on_node`."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, the next forward pass of the root is named."""
        with ExitStack() as hooks:
            for module in self._root.modules():
                if module is not self._root:
                    hooks.callback(module.register_forward_pre_hook(self._enter).remove)
                    hooks.callback(module.register_forward_hook(self._leave, with_kwargs=True).remove)
            hooks.enter_context(self)
            yield

    def _enter(self, module: nn.Module, _args: Any) -> None:
        inside_leaf = self._frames[-1][1] or _is_leaf(module)
        self._frames.append((self._paths[id(module)], inside_leaf))

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        path, _ = self._frames[-1]
        self._frames[-1] = (path, True)  # what on_node itself computes is no node
        node = Node(self._next_name(path), type(module).__name__, path, self._calls[path], module)
        self._calls[path] += 1
        tensor = first_tensor(output)
        if tensor is not None:
            output = with_first(output, self.on_node(node, tensors_in(args, kwargs), tensor))
        self._frames.pop()
        return output

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.on_function(func, args, kwargs, result)
        path, inside_leaf = self._frames[-1]
        if inside_leaf or not isinstance(result, Tensor) or not (sources := tensors_in(args, kwargs)):
            return result
        kind = operation(func)
        return self.on_node(Node(self._next_name(f"{path}.{kind}" if path else kind), kind, path), sources, result)

    def _next_name(self, base: str) -> str:
        use = self._uses[base]
        name = f"{base}_{use}" if use else base
        while use and name in self._modules:  # a module is called so: its own output has the better claim
            use += 1
            name = f"{base}_{use}"
        self._uses[base] = use + 1
        return name


def operation(func: Any) -> str:
    """The name of a torch function as torch.fx spells it: "add" for `+`, `+=` and `torch.add`, "relu_" for `relu_`."""
    name = str(getattr(func, "__name__", type(func).__name__))
    return _OPERATORS.get(name) or (name[2:-2] if name.startswith("__") and name.endswith("__") else name)


def is_in_place(func: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether a torch function writes to its first argument."""
    name = str(getattr(func, "__name__", ""))
    if name.startswith("__"):
        return name == "__setitem__" or (name.startswith("__i") and name != "__invert__")
    return name.endswith("_") or bool(kwargs.get("inplace"))


def tensors_in(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors among arguments, also those in lists and tuples."""
    found: list[Tensor] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value, {})
    return found


def first_tensor(output: Any) -> Tensor | None:
    """A module's output where it is a tensor, or the first of a plain tuple of them (attention returns two)."""
    if type(output) is tuple and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def with_first(output: Any, tensor: Tensor) -> Any:
    """`output` with its `first_tensor` replaced."""
    return (tensor, *output[1:]) if type(output) is tuple else tensor


def _is_leaf(module: nn.Module) -> bool:
    """Whether torch.fx would take the module for one operation: those of torch.nn, containers excepted."""
    home = type(module).__module__
    return home.startswith(("torch.nn", "torch.ao.nn")) and not isinstance(module, nn.Sequential)
