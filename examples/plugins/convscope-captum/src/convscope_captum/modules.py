"""Which modules and functions of a network a method of captum has no rule for."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from convscope_sdk import Network, NotApplicable

__all__ = ["leaves", "refuse_unless_ruled"]

# Functions that pass a gradient on as any rule would: they only move values.
_MOVES = frozenset(
    {"__getitem__", "chunk", "clone", "contiguous", "flatten", "getitem", "pad", "permute", "reshape", "split"}
    | {"squeeze", "transpose", "unsqueeze", "view"}
)


def leaves(module: nn.Module) -> list[nn.Module]:
    """Modules without children."""
    return [each for each in module.modules() if not list(each.children())]


def refuse_unless_ruled(
    network: Network, method: str, modules: Collection[type[nn.Module]], functions: Collection[str], instead: str
) -> None:
    """Nothing where captum's rules cover the network.

    Args:
        network: To be explained.
        method: Its name in the message.
        modules: Classes of leaf modules that are covered; `nn.Identity` always is.
        functions: Names of functions that are covered besides those that only move values.
        instead: What to take otherwise.

    Raises:
        NotApplicable: names what is not covered.
    """
    allowed = (*modules, nn.Identity)
    odd = {type(leaf).__name__ for leaf in leaves(network.module) if not isinstance(leaf, allowed)}
    odd |= {layer.kind for layer in network.layers if layer.functional and layer.kind not in {*functions, *_MOVES}}
    if odd:
        names = ", ".join(sorted(odd))
        raise NotApplicable(f"captum's {method} has no rule for {names} of {network.name}; take {instead}")
