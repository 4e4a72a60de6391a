"""Libraries that do what we do, as people use them: in this process, over modules of their own.

`make bench` puts lucent, whose pins clash with ours, into `.peers`, outside the environment: see the Makefile.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convscope_sdk.network import Network
from convscope_sdk.torchvision_ops import ensure_torchvision

__all__ = ["lucent", "module_of", "torchattacks"]

FOLDER = Path(__file__).parent.parent / ".peers"


def module_of(network: Network) -> nn.Sequential:
    """A copy of the network's module of its own, from pixels, as its builder gives it: parameters take gradients."""
    return nn.Sequential(_Normalize(network), network.spec.build().eval())


def lucent() -> Any:
    """Lucent 0.1.8's `optvis`."""
    _find()
    ensure_torchvision()  # it imports torchvision itself
    # It imports IPython to show pictures in notebooks, which is not asked of it here.
    sys.modules.setdefault("IPython", types.ModuleType("IPython"))
    sys.modules.setdefault("IPython.display", types.ModuleType("IPython.display"))
    import lucent.optvis.objectives
    import lucent.optvis.param
    import lucent.optvis.render
    import lucent.optvis.transform

    return lucent.optvis


def torchattacks() -> Any:
    """Torchattacks 3.5.1."""
    import torchattacks as attacks

    return attacks


def _find() -> None:
    if not FOLDER.is_dir():
        raise SystemExit(f"{FOLDER} is missing: `make bench` installs the peers there")
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))


class _Normalize(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = (network,)  # no submodule

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._network[0].normalize(pixels)
