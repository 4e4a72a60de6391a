"""t-SNE as a stream of layouts (van der Maaten & Hinton 2008; van der Maaten 2014; Linderman et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope_sdk.errors import FieldViolation, InvalidParams, NotApplicable
from convscope_techniques.embedding.tsne_libraries import (
    FEWEST,
    grown,
    open_problem,
    open_stages,
    scikit_divergence,
    scikit_problem,
)

__all__ = ["SCIKIT_UP_TO", "Frame", "Tsne"]

SCIKIT_UP_TO = 2000
"""Most points that scikit-learn lays out; beyond, openTSNE does."""

_EXAGGERATION = 12.0
_EXAGGERATED = 250
_PERPLEXITY = 30.0
_FEWEST = 4
_CHECKED = 50  # scikit-learn looks every so many steps whether to go on
_PATIENCE = 300
_FLAT = 1e-7

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frame:
    """A layout as it forms.

    Attributes:
        step: Steps done.
        layout: (N, 2).
        kl: Kullback-Leibler divergence that the step began with, without exaggeration.
    """

    step: int
    layout: NDArray[Any]
    kl: float


@dataclass(frozen=True, slots=True)
class Tsne:
    """A t-SNE begun from the first two principal components, by scikit-learn or, for many points, openTSNE.

    Up to `SCIKIT_UP_TO` points the layout at the end is, number for number, that of one call with the same seed,
    `sklearn.manifold.TSNE(perplexity=…, max_iter=steps, random_state=seed)`. Beyond, it is that of openTSNE with
    more momentum and at a size of its own, one call of `optimize` for each of `open_stages`.

    Attributes:
        perplexity: The number of neighbours that count, roughly.
        steps: Of gradient descent, the first with exaggerated affinities: 250 of scikit-learn's, 50 of openTSNE's.
        every: A frame every so many steps.
        seed: Of what is random in the search for neighbours.
    """

    perplexity: float
    steps: int = 1000
    every: int = 50
    seed: int = 0

    @staticmethod
    def steps_for(count: int) -> int:
        """Steps that are enough for so many points."""
        return 1000 if count <= SCIKIT_UP_TO else FEWEST

    @staticmethod
    def perplexity_for(count: int, asked: float | None) -> float:
        """The perplexity for so many points: what is asked for, or 30, less where there are few.

        Raises:
            InvalidParams: it is more than (count - 1) / 3, so that 3 · perplexity neighbours are not there.
            NotApplicable: there are fewer than four points.
        """
        if count < _FEWEST:
            raise NotApplicable(
                f"t-SNE needs {_FEWEST} images or more, and the set has {count}; take method=pca, or a larger set"
            )
        most = (count - 1) / 3
        if asked is None:
            return min(_PERPLEXITY, most)
        if asked > most:
            value = math.floor(most * 10) / 10
            text = (
                f"perplexity {asked:g} is too large for {count} images: it is at most (n - 1) / 3 = {most:.4g}; "
                f"take perplexity={value:g}, or leave it out"
            )
            raise InvalidParams(text, violations=[FieldViolation("params.perplexity", text)])
        return asked

    def run(self, features: Floats) -> Generator[Frame, None, Frame]:
        """Layouts of features (N, C) as they form, and the last as the generator's value.

        Raises:
            NotApplicable: there are more than `SCIKIT_UP_TO` points and no openTSNE.
        """
        if len(features) <= SCIKIT_UP_TO:
            return (yield from self._scikit(features))
        return (yield from self._open(features))

    def _scikit(self, features: Floats) -> Generator[Frame, None, Frame]:
        affinities, points, rate = scikit_problem(features, perplexity=self.perplexity, seed=self.seed)
        affinities *= _EXAGGERATION
        descent = _Descent(affinities, points, rate, momentum=0.5)
        done = yield from self._phase(descent, 0, min(_EXAGGERATED, self.steps), exaggeration=_EXAGGERATION)
        affinities /= _EXAGGERATION
        if done < self.steps:
            descent = _Descent(affinities, descent.points, rate, momentum=0.8)
            done = yield from self._phase(descent, done, self.steps, exaggeration=1)
        return Frame(done, descent.points, descent.kl())

    def _phase(self, descent: _Descent, done: int, end: int, *, exaggeration: float) -> Generator[Frame, None, int]:
        patience = _EXAGGERATED if exaggeration > 1 else _PATIENCE
        best, best_step = math.inf, done
        for step in range(done + 1, end + 1):
            checked, shown = step % _CHECKED == 0, step % self.every == 0
            error, steepness = descent.step(measured=checked or shown)
            if shown:
                yield Frame(step, descent.points.copy(), error / exaggeration - math.log(exaggeration))
            if not checked:
                continue
            if error < best:
                best, best_step = error, step
            elif step - best_step > patience:
                return step
            if steepness <= _FLAT:
                return step
        return end

    def _open(self, features: Floats) -> Generator[Frame, None, Frame]:
        embedding = open_problem(features, perplexity=self.perplexity, seed=self.seed)
        affinities, done, kl = embedding.affinities, 0, math.nan
        for stage in open_stages(len(features), self.steps):
            if stage.grows:
                embedding[:] = grown(embedding)
            affinities.P *= stage.exaggeration  # once, as one call does: at every frame it would round differently
            end = done + stage.steps
            while done < end:
                steps = min(self.every - done % self.every, end - done)
                embedding.optimize(steps, inplace=True, exaggeration=None, **stage.options(len(features)))
                done += steps
                kl = float(embedding.kl_divergence) / stage.exaggeration - math.log(stage.exaggeration)
                if done % self.every == 0:
                    yield Frame(done, np.array(embedding), kl)
            affinities.P /= stage.exaggeration
        return Frame(done, np.array(embedding), kl)


class _Descent:
    """Gradient descent with momentum and gains over scikit-learn's objective, a step at a time.

    Attributes:
        points: (N, 2) the layout.
    """

    def __init__(self, affinities: Any, points: Floats, rate: np.float64, momentum: float) -> None:
        self.points = points.copy()
        self._affinities = affinities
        self._rate = rate  # a float64 of NumPy, which makes float64 of the update, as in scikit-learn
        self._momentum = momentum
        self._update: NDArray[Any] = np.zeros_like(points)
        self._gains = np.ones_like(points)

    def step(self, *, measured: bool) -> tuple[float, float]:
        """Moves the points; the divergence before, NaN where not measured, and the length of the step's gradient."""
        error, gradient = scikit_divergence(self._affinities, self.points, measured=measured)
        turned = self._update * gradient < 0
        self._gains[turned] += 0.2
        self._gains[~turned] *= 0.8
        np.clip(self._gains, 0.01, np.inf, out=self._gains)
        gradient *= self._gains
        self._update = self._momentum * self._update - self._rate * gradient
        self.points += self._update
        return error, float(np.linalg.norm(gradient))

    def kl(self) -> float:
        """The divergence of the layout as it is."""
        return scikit_divergence(self._affinities, self.points, measured=True)[0]
