"""Zeiler's way back through max pooling: each maximum goes to the place it came from, and the last one there stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["ZeilerUnpooling"]

_MAX_POOL = frozenset({functional.max_pool2d, torch.max_pool2d})
_MAP_NDIM = 4


class ZeilerUnpooling(TorchFunctionMode):
    """A context manager: max pooling within it is gone back through by unpooling with switches.

    A pool's gradient goes to where its maximum was. Where pools overlap and share a maximum, automatic
    differentiation adds their gradients up; unpooling, as the deconvolutional network does it, writes one over the
    other, and the last pool in reading order stays. Values of the forward pass are what they were, to the bit. It
    holds for the thread that enters it.

    Attributes:
        pools: Max poolings that were met so far.
        overlapping: Those among them whose pools overlap, where the two ways differ.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pools = 0
        self.overlapping = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _MAX_POOL:
            x, pooling = _call(*args, **kwargs)
            if x.ndim == _MAP_NDIM and not pooling.return_indices:
                self.pools += 1
                self.overlapping += pooling.overlaps
                return _Pool.apply(x, pooling)  # type: ignore[no-untyped-call]  # torch's stub
        return func(*args, **kwargs)


class _Pooling(NamedTuple):
    """The arguments of max_pool2d after its input."""

    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    ceil_mode: bool = False
    return_indices: bool = False

    @property
    def overlaps(self) -> bool:
        """Whether a place can belong to several pools."""
        sizes, gaps = _pair(self.kernel_size), _pair(self.dilation)
        reach = [(size - 1) * gap + 1 for size, gap in zip(sizes, gaps, strict=True)]
        return any(far > step for far, step in zip(reach, _pair(self.stride or sizes), strict=True))


def _call(
    input: Tensor,  # noqa: A002 - torch's name
    *settings: Any,
    **named: Any,
) -> tuple[Tensor, _Pooling]:
    return input, _Pooling(*settings, **named)


def _pair(value: Any) -> tuple[int, int]:
    first, *others = value if isinstance(value, Sequence) else (value,)
    return first, *(others or [first])


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pooling: _Pooling) -> Tensor:
        y, switches = functional.max_pool2d_with_indices(x, *pooling[:-1])
        ctx.save_for_backward(switches)
        ctx.shape = x.shape
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (switches,) = ctx.saved_tensors
        return _unpooled(grad.flatten(2), switches.flatten(2), ctx.shape), None


def _unpooled(grad: Tensor, switches: Tensor, shape: torch.Size) -> Tensor:
    """Each place's gradient from the last pool, in reading order, whose maximum it is; 0 where there is none."""
    # A plain scatter would leave it to the device which of several writers stays.
    pools = torch.arange(grad.shape[2], device=grad.device).expand_as(switches)
    last = switches.new_full((*shape[:2], shape[2] * shape[3]), -1).scatter_reduce(2, switches, pools, "amax")
    return (grad.gather(2, last.clamp(min=0)) * (last >= 0)).view(shape)
