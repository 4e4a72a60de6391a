"""The t-SNE problems that scikit-learn and openTSNE pose, to be gone through a step at a time.

scikit-learn calls nobody back while it works, so its private objective is called here; a test holds the layout equal
to that of a call of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from convscope_sdk.errors import NotApplicable

__all__ = ["FEWEST", "Stage", "grown", "open_problem", "open_stages", "scikit_divergence", "scikit_problem"]

FEWEST = 250
"""Steps that openTSNE is given at least."""

_ANGLE = 0.5
_SIZES = (1.0, 1.25, 1.5)
_TREE_UP_TO = 30_000
_EXACT_UP_TO = 20_000  # whose neighbours are found faster by comparing all with all

Floats = NDArray[np.float32]


def scikit_problem(features: Floats, *, perplexity: float, seed: int) -> tuple[Any, Floats, np.float64]:
    """Affinities (a sparse matrix), the layout (N, 2) to begin with, and the step size, all as scikit-learn's."""
    from sklearn.manifold import TSNE

    class Posed(TSNE):  # type: ignore[misc]  # scikit-learn ships no types
        """Stops where the descent would begin."""

        def _tsne(
            self,
            P: Any,  # noqa: N803 - its names
            _freedom: int,
            _count: int,
            X_embedded: Floats,  # noqa: N803
            **_: Any,
        ) -> Floats:
            self.affinities_ = P
            self.kl_divergence_, self.n_iter_ = np.nan, 0
            return X_embedded

    posed = Posed(perplexity=perplexity, random_state=_seed(seed))
    begin = posed.fit_transform(features)
    return posed.affinities_, begin, posed.learning_rate_


def scikit_divergence(affinities: Any, points: Floats, *, measured: bool) -> tuple[float, Floats]:
    """The Kullback-Leibler divergence, NaN where it is not to be measured, and its gradient (N, 2); Barnes-Hut."""
    from sklearn.manifold._t_sne import _kl_divergence_bh

    error, gradient = _kl_divergence_bh(
        points.ravel(), affinities, 1, len(points), 2, angle=_ANGLE, compute_error=measured, num_threads=1
    )
    return float(error), gradient.reshape(points.shape)


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps of openTSNE that are taken alike; where it grows, the layout is given another size before the first."""

    steps: int
    momentum: float
    gradient: Literal["bh", "fft"] = "bh"
    angle: float = 0.5
    exaggeration: float = 1.0
    grows: bool = False

    def options(self, count: int) -> dict[str, Any]:
        """What `TSNEEmbedding.optimize` is given for so many points."""
        rate = count / self.exaggeration
        gradient = {"negative_gradient_method": self.gradient, "theta": self.angle}
        return {"momentum": self.momentum, "learning_rate": rate, **gradient}


def open_stages(count: int, steps: int) -> tuple[Stage, ...]:
    """How openTSNE takes its steps, `FEWEST` at least; those beyond are the last but one stage's.

    What descent changes slowest is the size of a layout: it is begun with more momentum than openTSNE's own 0.8, and
    once neighbours have found each other it is grown at one stroke. Interpolation costs what the layout's extent says,
    a tree what the number of points says: the first while the layout is small, and for very many points. The last 30
    steps settle with a narrower angle at the tree.
    """
    late: Literal["bh", "fft"] = "bh" if count <= _TREE_UP_TO else "fft"
    return (
        Stage(50, 0.9, "fft", exaggeration=12.0),
        Stage(30, 0.8, late, angle=0.8),
        Stage(80, 0.95, late, angle=0.8),
        Stage(steps - 190, 0.8, late, angle=0.8, grows=True),
        Stage(30, 0.8, late),
    )


def grown(embedding: Any) -> NDArray[np.float64]:
    """The layout (N, 2) at the one of three sizes, its own the smallest, that has the least divergence."""
    from openTSNE.tsne import kl_divergence_bh

    layouts = [np.ascontiguousarray(np.asarray(embedding) * size) for size in _SIZES]
    options = {"dof": 1, "bh_params": {"theta": 0.8}, "should_eval_error": True}
    divergences = [kl_divergence_bh(layout, embedding.affinities.P, **options)[0] for layout in layouts]
    return layouts[int(np.argmin(divergences))]


def open_problem(features: Floats, *, perplexity: float, seed: int) -> Any:
    """An `openTSNE.TSNEEmbedding` before its first step.

    Raises:
        NotApplicable: openTSNE is not installed.
    """
    try:
        import openTSNE
    except ImportError:
        raise NotApplicable(
            f"t-SNE of {len(features)} images needs openTSNE: pip install 'convscope[sets]' on the server, or take "
            "method=pca"
        ) from None
    search = "exact" if len(features) <= _EXACT_UP_TO else "approx"
    layout = openTSNE.TSNE(perplexity=perplexity, random_state=_seed(seed), n_jobs=1, neighbors=search)
    return layout.prepare_initial(features)


def _seed(seed: int) -> int:
    return seed % 2**32
