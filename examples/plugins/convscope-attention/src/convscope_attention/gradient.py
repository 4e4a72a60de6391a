"""Attention weighed by how it changes a score (Chefer, Gur & Wolf 2021)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor

from convscope_attention.results import report, shown
from convscope_attention.tokens import attend
from convscope_sdk import Event, ImageParams, Progress, Run, TargetField, target_field, technique

__all__ = ["GradientParams", "gradient", "relevance"]


class GradientParams(ImageParams):
    """Parameters of `attention.gradient`."""

    target: TargetField = Field(
        target_field("top1"), description="The class that is explained: `top1`, `class:285`, or a contrast `285-281`."
    )


@technique(
    "attention.gradient", needs={"image", "classes", "gradients"}, cites="Chefer, Gur & Wolf 2021, arXiv:2103.15679"
)
def gradient(run: Run[GradientParams]) -> Iterator[Event]:
    """Which patches a vision transformer's attention brings to the output in favour of one class.

    Each attention is multiplied by its gradient, only what speaks for the class is kept, heads are averaged, and the
    relevance of tokens is carried from layer to layer: R becomes R + E_heads[(A·dA)+]·R.
    Tensor `patches`, (rows, columns), is the map before it is drawn over the picture.
    """
    found = attend(run.network, run.image, run.params.target)
    yield from report(run, found)
    yield Progress(1, 1)
    patches = found.to_map(relevance(found.matrices, found.gradients))
    yield from shown("gradient", patches, run.image, f"which patches attention brings in favour of {found.target}")


def relevance(matrices: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> Tensor:
    """(tokens, tokens): how relevant each token is to each other after the last layer, rule 5 and 6 of the paper."""
    relevant = torch.eye(matrices[0].shape[-1], dtype=matrices[0].dtype, device=matrices[0].device)
    for matrix, slope in zip(matrices, gradients, strict=True):
        relevant = relevant + (matrix * slope).clamp(min=0).mean(0) @ relevant
    return relevant
