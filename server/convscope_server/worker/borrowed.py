"""The models that one run has on its device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from convscope_sdk.network import Network

__all__ = ["BorrowedModels"]


class BorrowedModels:
    """Networks by name, each acquired once and given back together with the others.

    Args:
        acquire: Loads a model if need be and holds it.
        release: Lets go of one.
        opened: Called with each network before the run gets it.
    """

    def __init__(
        self,
        acquire: Callable[[str], Network],
        release: Callable[[str], None],
        opened: Callable[[Network], None],
    ) -> None:
        self._acquire = acquire
        self._release = release
        self._opened = opened
        self._networks: dict[str, Network] = {}
        self._over = False

    @property
    def networks(self) -> Mapping[str, Network]:
        """Those that the run has, in the order in which it asked."""
        return self._networks

    def open(self, name: str) -> Network:
        """The network of that name.

        Raises:
            TechniqueError: it cannot be had.
            RuntimeError: the run has ended.
        """
        if self._over:
            raise RuntimeError("the run has ended; its models are no longer its own")
        if name not in self._networks:
            # A load within inference mode would leave tensors that no later run can differentiate through.
            with torch.inference_mode(mode=False):
                self._networks[name] = self._acquire(name)
                self._opened(self._networks[name])
        return self._networks[name]

    def give_back(self) -> None:
        """Release all of them, once."""
        self._over = True
        while self._networks:
            name, _ = self._networks.popitem()
            self._release(name)
