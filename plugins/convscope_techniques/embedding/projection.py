"""Features to a few dimensions: principal components, and UMAP."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convscope_sdk.errors import FieldViolation, InvalidParams, NotApplicable

__all__ = ["Projection", "principal_components", "umap_layout"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Projection:
    """Principal components of features.

    Attributes:
        coordinates: (n, d) float32, centred; each component's largest coefficient is positive.
        explained: (d,) share of the variance that each holds; zeros where there is none.
    """

    coordinates: NDArray[np.float32]
    explained: NDArray[np.float64]


def principal_components(features: Floats, count: int, seed: int = 0) -> Projection:
    """The first `count` principal components, fewer where there are fewer; scikit-learn's, to the sign."""
    from sklearn.decomposition import PCA

    n, channels = features.shape
    d = min(count, n, channels)
    if n == 1 or not np.ptp(features, axis=0).any():
        return Projection(np.zeros((n, d), np.float32), np.zeros(d))
    pca = PCA(d, random_state=seed % 2**32)
    coordinates = pca.fit_transform(np.asarray(features, np.float32))
    return Projection(coordinates.astype(np.float32), pca.explained_variance_ratio_.astype(np.float64))


def umap_layout(features: Floats, *, neighbors: int, min_dist: float, seed: int) -> NDArray[np.float32]:
    """(n, 2) a UMAP layout (McInnes, Healy & Melville 2018), that of `umap.UMAP(random_state=seed)`.

    Raises:
        InvalidParams: there are not more images than neighbours.
        NotApplicable: there are fewer than four images, or umap-learn is not installed.
    """
    n = len(features)
    if n < 4:  # noqa: PLR2004 - its own start needs two components more than it has
        raise NotApplicable(f"UMAP needs 4 images or more, and the set has {n}; take method=pca, or a larger set")
    if neighbors >= n:
        text = f"{neighbors} neighbors are too many for {n} images: at most n - 1 = {n - 1}; take neighbors={n - 1}"
        raise InvalidParams(text, violations=[FieldViolation("params.neighbors", text)])
    try:
        import umap
    except ImportError:
        raise NotApplicable(
            "UMAP needs umap-learn: pip install 'convscope[sets]' on the server, or take method=tsne"
        ) from None
    with _threads_as_they_are(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what a seed costs, and of its own dependencies' future
        made = umap.UMAP(n_neighbors=neighbors, min_dist=min_dist, random_state=seed % 2**32, n_jobs=1)
        return np.asarray(made.fit_transform(np.asarray(features, np.float32)), np.float32)


@contextmanager
def _threads_as_they_are() -> Iterator[None]:
    """Numba, when it first works, sets the number of OpenMP's threads, which are torch's too."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
