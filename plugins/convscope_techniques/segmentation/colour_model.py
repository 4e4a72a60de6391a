"""A mixture of Gaussians over colours, with every pixel in one component, as GrabCut keeps it (Rother et al. 2004)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColourModel"]

Floats = NDArray[np.float64]

_LEAST_VARIANCE = 0.01  # of a colour in 0 to 255, or a flat region would have infinite density


@dataclass(frozen=True, slots=True)
class ColourModel:
    """At most K Gaussians over RGB colours in 0 to 255.

    Attributes:
        weights: (K,) above 0, together 1.
        means: (K, 3).
        precisions: (K, 3, 3), inverses of the covariances.
    """

    weights: Floats
    means: Floats
    precisions: Floats

    @classmethod
    def clustered(cls, colours: Floats, k: int) -> ColourModel:
        """The model of (N, 3) colours, N at least 1, by binary splits (Orchard & Bouman 1991); no random numbers."""
        return cls.learned(colours, split(colours, k))

    @classmethod
    def learned(cls, colours: Floats, components: NDArray[np.intp]) -> ColourModel:
        """The most likely model of (N, 3) colours in known components, (N,); those without colours are left out."""
        members = [colours[components == index] for index in np.unique(components)]
        spreads = [_covariance(part) for part in members]
        return cls(
            np.array([len(part) / len(colours) for part in members]),
            np.array([part.mean(0) for part in members]),
            np.linalg.inv(np.array(spreads)),
        )

    def costs(self, colours: Floats) -> Floats:
        """(N, K) minus the logarithm of each component's weight times its density, for (N, 3) colours."""
        apart = colours[:, None] - self.means
        distances = np.einsum("nki,kij,nkj->nk", apart, self.precisions, apart)
        _, log_determinants = np.linalg.slogdet(self.precisions)
        return np.asarray((distances - log_determinants) / 2 - np.log(self.weights) + 1.5 * np.log(2 * np.pi))

    def cost(self, colours: Floats) -> Floats:
        """(N,) cost of each colour in the component that explains it best: Rother's D."""
        return np.asarray(self.costs(colours).min(1))

    def relearned(self, colours: Floats) -> ColourModel:
        """The most likely model once each of (N, 3) colours has gone to the component that explains it best."""
        return ColourModel.learned(colours, self.costs(colours).argmin(1))


def split(colours: Floats, k: int) -> NDArray[np.intp]:
    """(N,) component of each colour: the widest component is halved along its main axis until there are k.

    Fewer than k where the colours are fewer.
    """
    components = np.zeros(len(colours), dtype=np.intp)
    for new in range(1, k):
        axes = [np.linalg.eigh(_covariance(colours[components == index])) for index in range(new)]
        scatter = [values[-1] * (components == index).sum() for index, (values, _) in enumerate(axes)]
        widest = int(np.argmax(scatter))
        along = colours @ axes[widest][1][:, -1]
        inside = components == widest
        beyond = inside & (along > along[inside].mean() + 1e-9)
        if not beyond.any():
            break
        components[beyond] = new
    return components


def _covariance(colours: Floats) -> Floats:
    apart = colours - colours.mean(0)
    return np.asarray(apart.T @ apart / len(colours) + _LEAST_VARIANCE * np.eye(3))
