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
# Modules that hand values on, and keep nothing of a call.
_ANY_NUMBER = (nn.Identity, nn.Dropout, nn.Flatten)


def leaves(module: nn.Module) -> list[nn.Module]:
    """Modules without children."""
    return [each for each in module.modules() if _is_leaf(each)]


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
        NotApplicable: names what is not covered, or is called more than once.
    """
    allowed = (*modules, nn.Identity)
    odd = {type(leaf).__name__ for leaf in leaves(network.module) if not isinstance(leaf, allowed)}
    odd |= {layer.kind for layer in network.layers if layer.functional and layer.kind not in {*functions, *_MOVES}}
    if odd:
        names = ", ".join(sorted(odd))
        raise NotApplicable(f"captum's {method} has no rule for {names} of {network.name}; take {instead}")
    if again := _called_again(network):
        raise NotApplicable(
            f"captum's {method} takes modules that are called once; {again} is used again; take {instead}"
        )


def _called_again(network: Network) -> str:
    """The first leaf module with a rule that the network calls twice, or ""."""
    modules = dict(network.module.named_modules())
    twice = (layer.module for layer in network.layers if layer.call and not layer.functional)
    return next((name for name in twice if not isinstance(modules[name], _ANY_NUMBER) and _is_leaf(modules[name])), "")


def _is_leaf(module: nn.Module) -> bool:
    return not list(module.children())
