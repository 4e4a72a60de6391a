"""Instance norms that take the means and variances of another pass than the one they are in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

__all__ = ["FixedNorms"]

_POSITIONS = (2, 3)


class FixedNorms:
    """The instance norms of a module: watched in one pass, and held to what they found there in later ones.

    Args:
        module: Whose norms they are; left as it was after each block.
    """

    def __init__(self, module: nn.Module) -> None:
        self._norms = [part for part in module.modules() if isinstance(part, nn.InstanceNorm2d)]
        self._found: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it the norms' means and variances are noted."""

        def note(norm: nn.Module, inputs: tuple[Tensor]) -> None:
            variance, mean = torch.var_mean(inputs[0], _POSITIONS, correction=0, keepdim=True)
            self._found[norm] = mean, variance

        with ExitStack() as hooks:
            for norm in self._norms:
                hooks.callback(norm.register_forward_pre_hook(note).remove)
            yield

    @contextmanager
    def fixed(self) -> Iterator[None]:
        """Within it the norms use what was noted, whatever they see."""

        def normalise(norm: nn.InstanceNorm2d, inputs: tuple[Tensor], _output: Tensor) -> Tensor:
            mean, variance = self._found[norm]
            out = (inputs[0] - mean) * (variance + norm.eps).rsqrt()
            return out * norm.weight[:, None, None] + norm.bias[:, None, None] if norm.affine else out

        with ExitStack() as hooks:
            for norm in self._norms:
                hooks.callback(norm.register_forward_hook(normalise).remove)
            yield
