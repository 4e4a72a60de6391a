"""How attention adds up over layers (Abnar & Zuidema 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from convscope_attention.results import report, shown
from convscope_attention.tokens import attend
from convscope_sdk import Event, ImageParams, Progress, Run, TargetField, target_field, technique

__all__ = ["RolloutParams", "rolled_out", "rollout"]

Heads = Literal["mean", "max", "min"]


class RolloutParams(ImageParams):
    """Parameters of `attention.rollout`; the defaults are the paper's."""

    target: TargetField = Field(
        target_field("top1"), description="Which class is reported; the rollout itself is the same for all."
    )
    heads: Heads = Field(
        "mean", description="How the heads of a layer become one: their `mean` (the paper), `max`, `min`."
    )
    residual: float = Field(
        0.5, ge=0, le=1, description="Share of each token that passes a layer by the skip connection; 0.5 in the paper."
    )


@technique("attention.rollout", needs={"image", "classes", "gradients"}, cites="Abnar & Zuidema 2020, arXiv:2005.00928")
def rollout(run: Run[RolloutParams]) -> Iterator[Event]:
    """How much of each patch reaches the output through all attention layers of a vision transformer.

    Each layer's attention, averaged over heads, is mixed with the identity for its skip connection; the product over
    layers says where the tokens that the output is read from come from. It is the same for every class.
    Tensor `patches`, (rows, columns), is the map before it is drawn over the picture.
    """
    params = run.params
    found = attend(run.network, run.image, params.target)
    yield from report(run, found)
    yield Progress(1, 1)
    patches = found.to_map(rolled_out(found.matrices, params.heads, params.residual))
    yield from shown("rollout", patches, run.image, "how much of each patch reaches the output by attention")


def rolled_out(matrices: tuple[Tensor, ...], heads: Heads = "mean", residual: float = 0.5) -> Tensor:
    """(tokens, tokens) product over layers of (1 - residual)·A + residual·I, each with rows that sum to 1."""
    identity = torch.eye(matrices[0].shape[-1], dtype=matrices[0].dtype, device=matrices[0].device)
    product = identity
    for matrix in matrices:
        fused = matrix.mean(0) if heads == "mean" else getattr(matrix, f"a{heads}")(0)
        mixed = (1 - residual) * fused + residual * identity
        product = (mixed / mixed.sum(-1, keepdim=True)) @ product
    return product
