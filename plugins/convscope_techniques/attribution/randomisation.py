"""Whether a map depends on what the network has learned (Adebayo et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convscope_sdk.network import Network

__all__ = ["Likeness", "Stage", "stage_count", "stages"]

Floats = NDArray[np.float64]

_WINDOW = 7  # structural similarity's smallest usual one


@dataclass(frozen=True, slots=True)
class Stage:
    """A network that has partly forgotten.

    Attributes:
        network: A copy; the next stage goes on changing it.
        layers: How many layers have new weights, from the top.
        last: The name of the lowest of them.
    """

    network: Network
    layers: int
    last: str


def stage_count(network: Network) -> int:
    """How many stages `stages` gives, 5 at most: without the last layer's weights, then each quarter of the layers."""
    return len(_ends(len(_layers(network))))


def stages(network: Network, seed: int) -> Iterator[Stage]:
    """Copies of a network with the weights of more and more layers drawn anew, from the output to the input."""
    forgetful = Network(copy.deepcopy(network.module), network.spec, device=network.device)
    layers, done = _layers(forgetful), 0
    for end in _ends(len(layers)):
        with torch.random.fork_rng([network.device] if network.device.type == "cuda" else []), torch.no_grad():
            torch.manual_seed(seed + done)
            for _, layer in layers[done:end]:
                _forget(layer)
        done = end
        yield Stage(forgetful, end, layers[end - 1][0])


class Likeness(NamedTuple):
    """How like two maps are, each in magnitudes: 1 where they are the same.

    Attributes:
        spearman: Rank correlation; 0 where one of them is the same everywhere.
        ssim: Structural similarity, each brought to [0, 1] by its largest value.
    """

    spearman: float
    ssim: float

    @classmethod
    def of(cls, first: Tensor, second: Tensor) -> Likeness:
        """The likeness of two maps, (H, W)."""
        pair = [values.abs().cpu().double().numpy() for values in (first, second)]
        return cls(_rank_correlation(*pair), _similarity(*pair))


def _rank_correlation(first: Floats, second: Floats) -> float:
    from scipy import stats  # takes a second to import

    ranks = [stats.rankdata(values.ravel()) for values in (first, second)]
    return 0.0 if any(np.ptp(rank) == 0 for rank in ranks) else float(np.corrcoef(*ranks)[0, 1])


def _similarity(first: Floats, second: Floats) -> float:
    from skimage import metrics

    pair = [values / (values.max() or 1.0) for values in (first, second)]
    return float(metrics.structural_similarity(*pair, win_size=_WINDOW, data_range=1.0))  # type: ignore[no-untyped-call]  # scikit-image's


def _layers(network: Network) -> list[tuple[str, nn.Module]]:
    """Modules with parameters of their own, the last first."""
    return [(name, layer) for name, layer in network.module.named_modules() if _own(layer)][::-1]


def _ends(layers: int) -> list[int]:
    return sorted({min(1, layers), *(round(layers * quarter / 4) for quarter in range(1, 5))} - {0})


def _own(layer: nn.Module) -> list[nn.Parameter]:
    return list(layer.parameters(recurse=False))


def _forget(layer: nn.Module) -> None:
    """As it was before training; parameters of a layer that does not say how get normal noise of their own spread."""
    reset = getattr(layer, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for parameter in _own(layer):
        parameter.normal_(float(parameter.mean()), float(parameter.std(correction=0)))
