"""Gram matrices, and the one convention in which losses are counted and weights are read.

For a layer with N channels at M positions, F is its (N, M) features, and

    G = F·Fᵀ / (N·M)                        the Gram matrix
    style loss   = mean of (G - G₀)²        over its N² entries
    content loss = mean of (F - F₀)²        over its N·M entries

This is how neural-style-pt and PyTorch's tutorial count ("mse"). Others multiply by a constant of the layer, so
their weights are read here by that factor:

    gatys      N²/4    and N·M/2            E = Σ(ΔF·Fᵀ)² / (4N²M²) and ½·Σ(ΔF)² (Gatys et al. 2015, 2016)
    sum        N²      and N·M              sums in place of means (CS231n)
    relative   1/mean(G₀²) and 1/mean(F₀²)  shares of what is to be matched, so that one weight serves every
                                            layer of every network

The differences of neighbouring pixels, with pixels in [0, 1], are |d| summed ("mse", "gatys"), d² summed ("sum"), or
|d| averaged ("relative").
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from convscope_techniques.synthesis.penalty import absolute_variation, total_variation

__all__ = ["CONVENTION_HELP", "Convention", "content_factor", "gram", "style_factor", "variation"]

Convention = Literal["relative", "mse", "gatys", "sum"]

CONVENTION_HELP = (
    "How weights are read. `mse`: means of squared differences of features and of Gram matrices F·Fᵀ/(N·M); "
    "`gatys`: N²/4 and N·M/2 times that, as in the papers; `sum`: N² and N·M times, as in CS231n; `relative`: "
    "divided by the mean square of what is to be matched, so that weights mean the same in every network."
)
_LEAST = 1e-16  # of a layer that says nothing, and is to go on saying nothing


def gram(features: Tensor) -> Tensor:
    """(B, C, C) Gram matrices F·Fᵀ / (C·H·W) of features (B, C, H, W)."""
    if len(features) > 1:
        flat = features.flatten(2)
        return flat @ flat.mT / flat[0].numel()
    # A batched product takes longer, and so does one whose gradient is laid out otherwise than the features.
    channels_last = features.is_contiguous(memory_format=torch.channels_last)
    alone = features.permute(0, 2, 3, 1).flatten(0, 2).T if channels_last else features.flatten(2).squeeze(0)
    return (alone @ alone.T / alone.numel())[None]


def style_factor(convention: Convention, wanted: Tensor) -> float:
    """What the mean squared difference to the Gram matrix `wanted`, (1, N, N), is multiplied with."""
    return _factor(convention, wanted, gatys=1 / 4)


def content_factor(convention: Convention, wanted: Tensor) -> float:
    """What the mean squared difference to the features `wanted`, (1, C, H, W), is multiplied with."""
    return _factor(convention, wanted, gatys=1 / 2)


def variation(convention: Convention, pixels: Tensor) -> Tensor:
    """The differences of neighbouring pixels, counted as the convention does."""
    if convention == "sum":
        return total_variation(pixels)
    summed = absolute_variation(pixels)
    return summed / (2 * pixels.numel()) if convention == "relative" else summed


def _factor(convention: Convention, wanted: Tensor, *, gatys: float) -> float:
    if convention == "relative":
        return 1 / max(float(wanted.square().mean()), _LEAST)
    entries = wanted[0].numel()
    return {"mse": 1.0, "gatys": entries * gatys, "sum": float(entries)}[convention]
