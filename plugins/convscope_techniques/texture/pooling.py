"""Average pooling in place of max pooling, without touching the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["AveragePooling"]

_MAX_POOL = frozenset({functional.max_pool2d, torch.max_pool2d})
_Pair = int | tuple[int, int]


class AveragePooling(TorchFunctionMode):
    """A context manager: within it max pooling takes the mean of each window, as Gatys et al. (2015) prefer.

    Padding does not count. Pooling with dilation, or that is asked for indices, stays as it is. Holds for the thread
    that enters it and for the forward pass: a generator leaves it before it yields.

    Attributes:
        replaced: Calls so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replaced = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        averaged = _averaged(*args, **(kwargs or {})) if func in _MAX_POOL else None
        if averaged is None:
            return func(*args, **(kwargs or {}))
        self.replaced += 1
        return averaged


def _averaged(  # noqa: PLR0917 - torch's own order
    input: Tensor,  # noqa: A002 - torch's name
    kernel_size: _Pair,
    stride: _Pair | None = None,
    padding: _Pair = 0,
    dilation: _Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    if return_indices or dilation not in {1, (1, 1)}:
        return None
    return functional.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad=False)
