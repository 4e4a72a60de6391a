"""What watches over the networks on a device, and puts them back."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from convscope_sdk.isolation import NetworkGuard

if TYPE_CHECKING:
    from convscope_sdk.network import Network

__all__ = ["Guards"]


class Guards:
    """A guard for each network, made when it is first asked for.

    Args:
        reload: Gives a loaded model its original values back, by name.
    """

    def __init__(self, reload: Callable[[str], None]) -> None:
        self._reload = reload
        self._guards: weakref.WeakKeyDictionary[Network, NetworkGuard] = weakref.WeakKeyDictionary()

    def of(self, network: Network) -> NetworkGuard:
        """The guard of a network, which remembers it as it was then."""
        guard = self._guards.get(network)
        if guard is None:
            guard = self._guards[network] = NetworkGuard(network.module)
        return guard

    def mend(self, networks: Mapping[str, Network]) -> None:
        """Put networks back as they were, from the model's source where values were written."""
        for name, network in networks.items():
            guard = self.of(network)
            if guard.leaks() or guard.values_changed():
                guard.restore()
            if guard.values_changed() or guard.leaks():
                self._reload(name)
                guard.accept_values()
