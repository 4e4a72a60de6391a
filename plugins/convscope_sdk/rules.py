"""Gradient rules: other ways back through ReLUs, without touching the network.

    guided      max(R, 0)·f'(x)     guided backpropagation
    deconvnet   max(R, 0)           the deconvolutional network's backward pass
    redirected  R·f'(x); where that is 0 all over a picture, R wherever it pushes x back to where f' is not

R is the gradient that arrives and f' the function's own derivative: [x > 0] for ReLU, [0 < x < 6] for ReLU6.
Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR 2015, arXiv:1412.6806, equations in
its section 3.1; they are stated for ReLU. For ReLU6 `deconvnet` has no upper mask either: it uses nothing of the
forward pass. `redirected` is lucid's, for objectives that are made small by gradient descent: a unit that never fires
has no gradient, and nothing would begin to move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from convscope_sdk.nodes import operation

__all__ = ["GradientRule", "Rule"]

Rule = Literal["guided", "deconvnet", "redirected"]

_RELU = frozenset({functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})
_HARDTANH = frozenset({functional.hardtanh, functional.hardtanh_, torch._C._nn.hardtanh, torch._C._nn.hardtanh_})  # noqa: SLF001 - what the modules call
_SMOOTH = frozenset({"celu", "elu", "gelu", "glu", "hardswish", "mish", "selu", "silu", "softplus", "softsign"})
_LEAKY = frozenset({"hardtanh", "leaky_relu", "prelu", "rrelu", "threshold"})
_GATES = frozenset({"hardsigmoid", "sigmoid", "tanh"})
_MAP_NDIM = 4


class GradientRule(TorchFunctionMode):
    """A context manager: what is computed within it passes gradients through the ReLU family by `rule`.

    It covers `relu`, `relu6` and `hardtanh` from 0 up, as functions, methods and modules, in place or not. Values
    stay what they were, to the bit. It holds for the thread that enters it and for the forward pass; the backward
    pass may come later. A generator that yields within it leaves it on for its caller: do not.

    Attributes:
        rule: "guided", "deconvnet" or "redirected".
        intercepted: Calls that passed through the rule so far.
        others: Names of other non-linearities met so far, to which the rule does not apply. Gates on whole
            channels, as squeeze-and-excitation has, are not among them.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        if rule not in get_args(Rule):
            raise ValueError(f"no gradient rule {rule!r}; there are {', '.join(get_args(Rule))}")
        self.rule = rule
        self.intercepted = 0
        self.others: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = _rectifier(func, args, kwargs or {})
        if call is not None:
            self.intercepted += 1
            apply = _RectifyInPlace.apply if call.in_place else _Rectify.apply
            return apply(call.x, call.upper, self.rule)  # type: ignore[no-untyped-call]  # torch's stub
        result = func(*args, **(kwargs or {}))
        self._note(func, result)
        return result

    def _note(self, func: Any, result: Any) -> None:
        name = operation(func).rstrip("_")
        if name in _SMOOTH | _LEAKY or (name in _GATES and not _gates_channels(result)):
            self.others.add(name)


class _Call(NamedTuple):
    x: Tensor
    upper: float | None
    in_place: bool


def _rectifier(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Call | None:
    if func in _RELU:
        return _relu(*args, **kwargs, _always=operation(func) == "relu_")
    if func is functional.relu6:
        return _relu(*args, **kwargs, _upper=6.0)
    if func in _HARDTANH:
        return _hardtanh(*args, **kwargs, _always=operation(func) == "hardtanh_")
    return None


def _relu(
    input: Tensor,  # noqa: A002 - torch's name
    inplace: bool = False,
    *,
    _upper: float | None = None,
    _always: bool = False,
) -> _Call:
    return _Call(input, _upper, inplace or _always)


def _hardtanh(
    input: Tensor,  # noqa: A002 - torch's name
    min_val: float = -1.0,
    max_val: float = 1.0,
    inplace: bool = False,
    *,
    _always: bool = False,
) -> _Call | None:
    return _Call(input, max_val, inplace or _always) if min_val == 0 < max_val else None


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, upper: float | None, rule: Rule) -> Tensor:
        y = x.relu() if upper is None else functional.hardtanh(x, 0.0, upper)
        return _remember(ctx, y, upper, rule)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _back(ctx, grad), None, None


class _RectifyInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, upper: float | None, rule: Rule) -> Tensor:
        y = x.relu_() if upper is None else functional.hardtanh_(x, 0.0, upper)
        ctx.mark_dirty(y)
        return _remember(ctx, y, upper, rule)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _back(ctx, grad), None, None


def _remember(ctx: Any, y: Tensor, upper: float | None, rule: Rule) -> Tensor:
    if (
        rule != "deconvnet"
    ):  # the output is kept, as by torch's own relu: it is there anyway, and tells where the input is
        ctx.save_for_backward(y)
    ctx.upper, ctx.rule = upper, rule
    return y


def _back(ctx: Any, grad: Tensor) -> Tensor:
    if ctx.rule == "deconvnet":
        return grad.clamp(min=0)
    (y,) = ctx.saved_tensors
    below, above = y <= 0, torch.zeros_like(y, dtype=torch.bool) if ctx.upper is None else y >= ctx.upper
    if ctx.rule == "guided":
        return grad.clamp(min=0).masked_fill(below | above, 0)
    return _redirected(grad, below, above)


def _redirected(grad: Tensor, below: Tensor, above: Tensor) -> Tensor:
    plain = grad.masked_fill(below | above, 0)
    back = grad.masked_fill((below & (grad > 0)) | (above & (grad < 0)), 0)
    passes = plain.reshape(len(plain), -1).any(1) if plain.ndim else plain != 0
    return torch.where(passes.reshape(-1, *(1,) * (plain.ndim - 1)), plain, back)


def _gates_channels(result: Any) -> bool:
    return isinstance(result, Tensor) and result.ndim == _MAP_NDIM and result.shape[-2:] == (1, 1)
