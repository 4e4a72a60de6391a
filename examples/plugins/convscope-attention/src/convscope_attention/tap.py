"""Attention matrices, taken where they are computed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["AttentionTap"]

_MATRIX_NDIM = 4
_SOFTMAX = frozenset({functional.softmax, torch.softmax, Tensor.softmax})
_MULTI_HEAD = functional.multi_head_attention_forward
_SIGNATURE = inspect.signature(_MULTI_HEAD)


class AttentionTap(TorchFunctionMode):
    """A context manager: forward passes within it leave their attention matrices here, attached to the graph.

    Fused attention never has its matrix in memory, so it is computed in the open instead: the same function, equal up
    to rounding. It holds for the thread that enters it, and touches neither the network nor its modules.

    Attributes:
        matrices: (B, heads, tokens, tokens) for each attention, in order; each row sums to 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.matrices: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return self._scaled_dot_product(*args, **kwargs)
        if func is _MULTI_HEAD and _is_plain(call := _SIGNATURE.bind(*args, **kwargs).arguments):
            return self._multi_head(call), None
        result = func(*args, **kwargs)
        if func in _SOFTMAX and result.ndim == _MATRIX_NDIM and result.shape[-1] == result.shape[-2]:
            self.matrices.append(result)
        return result

    def _scaled_dot_product(  # noqa: PLR0917 - torch's own signature
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if enable_gqa or is_causal or dropout_p:  # not what a vision transformer does when it is evaluated
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        likeness = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if attn_mask is not None:
            likeness = (
                likeness.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else likeness + attn_mask
            )
        matrix = likeness.softmax(-1)
        self.matrices.append(matrix)
        return matrix @ value

    def _multi_head(self, call: Mapping[str, Any]) -> Tensor:
        """`nn.MultiheadAttention` in evaluation, whose matrix torch gives without a way back to the output."""
        tokens: Tensor = call["query"]
        count, batch, width = tokens.shape
        heads = call["num_heads"]
        packed = functional.linear(tokens, call["in_proj_weight"], call["in_proj_bias"])
        query, key, value = packed.view(count, batch, 3, heads, width // heads).permute(2, 1, 3, 0, 4)
        mixed = self._scaled_dot_product(query, key, value)
        return functional.linear(
            mixed.permute(2, 0, 1, 3).reshape(count, batch, width), call["out_proj_weight"], call["out_proj_bias"]
        )


def _is_plain(call: Mapping[str, Any]) -> bool:
    """Whether it is self-attention without masks, added tokens or weights of their own for keys and values."""
    extras = ("bias_k", "bias_v", "key_padding_mask", "attn_mask", "add_zero_attn", "use_separate_proj_weight")
    same = call["query"] is call["key"] is call["value"]
    # The module transposes a batch-first input once for each of the three: the same memory under three names.
    same = same or call["query"].data_ptr() == call["key"].data_ptr() == call["value"].data_ptr()
    return same and not any(call.get(extra) is not None and call.get(extra) is not False for extra in extras)
