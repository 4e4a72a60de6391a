"""Which tokens are patches, and which ones the output is read from, found from the network's own behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope_attention.tap import AttentionTap
from convscope_sdk import Network, NotApplicable, Target

__all__ = ["Attention", "attend"]

_READ = 1e-6
_MAP_NDIM = 3


@dataclass(frozen=True, slots=True)
class Attention:
    """What a transformer attended to in one picture.

    Attributes:
        target: What was scored, with nothing left open.
        logits: (1, classes).
        score: (1,) what the target measures.
        matrices: (heads, tokens, tokens) of each attention, first to last.
        gradients: Of the score with respect to each of them, likewise.
        grid: Rows and columns of patches.
        prefix: Tokens before the patches: class token, registers.
        read: (tokens,) which share of the output is read from each token; sums to 1.
    """

    target: Target
    logits: Tensor
    score: Tensor
    matrices: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    grid: tuple[int, int]
    prefix: int
    read: Tensor

    @property
    def described(self) -> str:
        """One line on what was found."""
        reads = int((self.read > 0).sum())
        found = [
            f"{len(self.matrices)} attentions of {self.matrices[0].shape[0]} heads",
            f"{self.grid[0]}x{self.grid[1]} patches",
        ]
        if self.prefix:
            registers = self.prefix - int((self.read[: self.prefix] > 0).sum())
            found.append(f"{self.prefix} tokens before them, {registers} of which are registers")
        found.append(f"the output is read from {reads} of {self.read.shape[0]} tokens")
        return "; ".join(found)

    def to_map(self, matrix: Tensor) -> Tensor:
        """(rows, columns) of patches: the given (tokens, tokens) matrix's rows, as the output reads them."""
        return (self.read @ matrix)[self.prefix :].view(self.grid)


def attend(network: Network, pixels: Tensor, target: Target) -> Attention:
    """One forward and one backward pass.

    Raises:
        NotApplicable: the network has no attention over all tokens of the picture.
    """
    _check_kind(network)
    with torch.enable_grad(), AttentionTap() as tap:
        # The graph has to begin before the first attention: no parameter requires a gradient here.
        logits = network.logits(pixels.detach().requires_grad_())
        resolved = network.resolve(target, logits=logits)
        if not resolved.is_class:
            raise NotApplicable(f"{resolved} is no class; attention is read from the output, so ask for a class")
        score = network.target_value(resolved, logits=logits)
    grid = _grid(network, pixels)
    _check(network, tap.matrices, grid)
    gradients = torch.autograd.grad(score.sum(), tap.matrices, allow_unused=True)
    matrices = tuple(matrix.detach()[0] for matrix in tap.matrices)
    slopes = tuple(
        torch.zeros_like(matrix) if gradient is None else gradient[0]
        for matrix, gradient in zip(matrices, gradients, strict=True)
    )
    prefix = matrices[0].shape[-1] - grid[0] * grid[1]
    return Attention(resolved, logits.detach(), score.detach(), matrices, slopes, grid, prefix, _read(slopes[-1]))


def _read(gradient: Tensor) -> Tensor:
    """Which tokens the output is read from: those whose row of the last attention changes the score at all."""
    rows = gradient.abs().sum((0, 2))
    if not rows.any():
        raise NotApplicable("the score does not depend on the last attention, so nothing can be said about it")
    read = (rows > _READ * rows.max()).to(gradient.dtype)
    return read / read.sum()


def _grid(network: Network, pixels: Tensor) -> tuple[int, int]:
    """Rows and columns of patches: the output of the convolution that cuts the picture up."""
    name = network.layer("first_conv").name
    with torch.no_grad():
        rows, columns = network.activations(pixels, name)[name].shape[-2:]
    return int(rows), int(columns)


def _check_kind(network: Network) -> None:
    if "first_conv" not in network.aliases or len(network.layer("first_conv").output_shape) != _MAP_NDIM:
        raise NotApplicable(f"{network.name} does not cut its picture into patches by a convolution, as ViTs do")


def _check(network: Network, matrices: Sequence[Tensor], grid: tuple[int, int]) -> None:
    if not matrices:
        raise NotApplicable(f"{network.name} has no attention; for a convolutional network take grad_cam or saliency")
    shapes = {tuple(matrix.shape) for matrix in matrices}
    if len({(shape[0], *shape[2:]) for shape in shapes}) > 1 or matrices[0].shape[0] != 1:
        raise NotApplicable(
            f"{network.name} attends in windows or to fewer tokens from layer to layer; its matrices cannot be "
            f"multiplied. Take a plain ViT or DeiT, or grad_cam"
        )
    if matrices[0].shape[-1] < grid[0] * grid[1]:
        raise NotApplicable(f"{network.name} attends to fewer tokens than it has patches; take grad_cam")
