"""The box of input pixels that one position of a layer can see, carried through the functions of a forward pass.

Follows Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convscope_sdk.nodes import operation

__all__ = ["ReceptiveField", "Sight", "propagate"]

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """What position (0, 0) sees, and how far on the next position's box is. Pairs are (rows, columns), in pixels.

    Attributes:
        size: Of the box.
        stride: Between the boxes of neighbouring positions.
        offset: First row and column of position (0, 0)'s box; negative where padding is seen.
    """

    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    offset: Pair = (0, 0)

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) that the position sees, the last two exclusive; may reach outside the input."""
        top = self.offset[0] + row * self.stride[0]
        left = self.offset[1] + column * self.stride[1]
        return top, left, top + self.size[0], left + self.size[1]

    def slide(self, kernel: Pair, stride: Pair, padding: Pair = (0, 0), dilation: Pair = (1, 1)) -> ReceptiveField:
        """The field after a window of that shape, as of a convolution or a pooling, has slid over this layer."""
        height, width = (
            size + dilate * (k - 1) * mine
            for size, mine, k, dilate in zip(self.size, self.stride, kernel, dilation, strict=True)
        )
        strides = (self.stride[0] * stride[0], self.stride[1] * stride[1])
        return ReceptiveField((height, width), strides, self.pad(*padding).offset)

    def pad(self, above: int, left: int) -> ReceptiveField:
        """The field after rows above and columns to the left have been added to this layer."""
        offset = (self.offset[0] - above * self.stride[0], self.offset[1] - left * self.stride[1])
        return ReceptiveField(self.size, self.stride, offset)

    def union(self, other: ReceptiveField) -> ReceptiveField | None:
        """The smallest field that holds both, or None where they do not move together."""
        if self.stride != other.stride:
            return None
        top, left = (min(pair) for pair in zip(self.offset, other.offset, strict=True))
        bottom, right = (max(pair) for pair in zip(self.box(0, 0)[2:], other.box(0, 0)[2:], strict=True))
        return ReceptiveField((bottom - top, right - left), self.stride, (top, left))


@dataclass(frozen=True, slots=True)
class Sight:
    """A tensor's receptive field, and which of its axes are rows and columns."""

    field: ReceptiveField = ReceptiveField()
    axes: Pair = (2, 3)


@dataclass(frozen=True, slots=True)
class _Call:
    """A function of one tensor that depends on the input, as it was called."""

    sight: Sight
    x: Tensor
    result: Tensor
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    @property
    def trailing(self) -> bool:
        """Whether rows and columns are the last two axes."""
        return self.sight.axes == (self.x.ndim - 2, self.x.ndim - 1)

    def window(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Sight | None:
        return (
            Sight(self.sight.field.slide(kernel, stride, padding, dilation), self.sight.axes) if self.trailing else None
        )


Seen = Sequence[tuple[Tensor, Sight | None]]


def propagate(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], seen: Seen, result: Tensor) -> Sight | None:
    """The sight of `result = func(*args, **kwargs)`; None where a position may see the whole input.

    `seen` are those arguments that depend on the input at all. A function that is not known here gives None, so a
    sight that is given is always wide enough.
    """
    sights = [sight for _, sight in seen if sight is not None]
    if not sights or len(sights) < len(seen) or any(sight.axes != sights[0].axes for sight in sights):
        return None
    name = operation(func).rstrip("_")
    if name in _ELEMENTWISE:
        return _union(seen, sights, result)
    call = _Call(sights[0], seen[0][0], result, args, kwargs)
    if name in {"cat", "concat", "concatenate"}:
        return None if call.argument(1, "dim", 0) % result.ndim in sights[0].axes else _union(seen, sights, result)
    rule = _RULES.get(name)
    return rule(call) if rule and len(seen) == 1 else None


def _union(seen: Seen, sights: Sequence[Sight], result: Tensor) -> Sight | None:
    axes = sights[0].axes
    for tensor, _ in seen:
        if tensor.ndim != result.ndim or any(tensor.shape[axis] != result.shape[axis] for axis in axes):
            return None  # broadcast over positions
    field: ReceptiveField | None = sights[0].field
    for sight in sights[1:]:
        field = field.union(sight.field) if field else None
    return Sight(field, axes) if field else None


def _conv2d(call: _Call) -> Sight | None:
    kernel, dilation = _pair(call.argument(1, "weight").shape[-2:]), _pair(call.argument(5, "dilation", 1))
    padding = call.argument(4, "padding", 0)
    if padding == "same":  # where the sum is odd, the larger half comes after
        padding = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
    elif padding == "valid":
        padding = 0
    return call.window(kernel, _pair(call.argument(3, "stride", 1)), _pair(padding), dilation)


def _max_pool2d(call: _Call) -> Sight | None:
    return _pooled(call, _pair(call.argument(4, "dilation", 1)))


def _avg_pool2d(call: _Call) -> Sight | None:
    return _pooled(call, (1, 1))


def _pooled(call: _Call, dilation: Pair) -> Sight | None:
    kernel = _pair(call.argument(1, "kernel_size"))
    return call.window(
        kernel, _pair(call.argument(2, "stride") or kernel), _pair(call.argument(3, "padding", 0)), dilation
    )


def _pad(call: _Call) -> Sight | None:
    if call.argument(2, "mode", "constant") != "constant" or not call.trailing:
        return None  # mirrored and wrapped pixels come from elsewhere
    pad: Sequence[int] = call.argument(1, "pad")  # left, right, above, below
    above = pad[2] if len(pad) > len(call.sight.axes) else 0
    return Sight(call.sight.field.pad(above, pad[0]), call.sight.axes)


def _batch_norm(call: _Call) -> Sight | None:
    return None if call.argument(5, "training", False) else call.sight  # batch statistics see every position


def _layer_norm(call: _Call) -> Sight | None:
    return call.sight if max(call.sight.axes) < call.x.ndim - len(call.argument(1, "normalized_shape")) else None


def _linear(call: _Call) -> Sight | None:
    return call.sight if max(call.sight.axes) < call.x.ndim - 1 else None


def _split(call: _Call) -> Sight | None:
    return None if call.argument(2, "dim", 0) % call.x.ndim in call.sight.axes else call.sight


def _permute(call: _Call) -> Sight | None:
    dims = call.argument(1, "dims")
    order = call.args[1:] if isinstance(dims, int) else dims
    return _reordered(call, [axis % call.x.ndim for axis in order])


def _transpose(call: _Call) -> Sight | None:
    order = list(range(call.x.ndim))
    first, second = call.argument(1, "dim0"), call.argument(2, "dim1")
    order[first], order[second] = order[second], order[first]
    return _reordered(call, order)


def _reordered(call: _Call, order: Sequence[int]) -> Sight:
    rows, columns = call.sight.axes
    return Sight(call.sight.field, (order.index(rows), order.index(columns)))


def _reshape(call: _Call) -> Sight | None:
    """Kept where rows and columns stay the last two axes, as when channels are shuffled in groups."""
    if not call.trailing or call.x.shape[-2:] != call.result.shape[-2:]:
        return None
    return Sight(call.sight.field, (call.result.ndim - 2, call.result.ndim - 1))


def _pair(value: Any) -> Pair:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return int(values[0]), int(values[-1])


_RULES: Mapping[str, Callable[[_Call], Sight | None]] = {
    "conv2d": _conv2d,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "pad": _pad,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "chunk": _split,
    "split": _split,
    "permute": _permute,
    "transpose": _transpose,
    "reshape": _reshape,
    "view": _reshape,
}

_ELEMENTWISE = frozenset(
    {"relu", "relu6", "hardtanh", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus"}
    | {"softsign", "sigmoid", "tanh", "hardsigmoid", "hardswish", "logsigmoid", "hardshrink", "softshrink"}
    | {"dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "threshold"}
    | {"add", "sub", "rsub", "mul", "div", "truediv", "neg", "abs", "pow", "exp", "log", "sqrt", "rsqrt", "square"}
    | {"reciprocal", "sign", "clamp", "clamp_min", "clamp_max", "clip", "maximum", "minimum", "where", "lerp"}
    | {"clone", "contiguous", "detach", "to", "float", "half", "bfloat16", "double", "type", "type_as"}
)
