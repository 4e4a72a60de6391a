"""t-SNE as a stream of layouts (van der Maaten & Hinton 2008; van der Maaten 2014; Linderman et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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

__all__ = ["SCIKIT_UP_TO", "Forming", "Frame", "Tsne"]

SCIKIT_UP_TO = 2000
"""Most points that scikit-learn lays out; beyond, openTSNE does."""

_PERPLEXITY = 30.0
_FEWEST = 4
_CHECKED = 50  # scikit-learn looks every so many steps whether to go on
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


class Forming(Protocol):
    """A layout that forms, step by step. After each frame it can be put down."""

    def run(self) -> Generator[Frame, None, Frame]:
        """Layouts from where it is, and the last as the generator's value."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be where another one of the same features was.

        Raises:
            ValueError: it was of more or fewer points.
        """


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

    def begin(self, features: Floats) -> Forming:
        """A layout of features (N, C) before its first step.

        Raises:
            NotApplicable: there are more than `SCIKIT_UP_TO` points and no openTSNE.
        """
        return (_ByScikit if len(features) <= SCIKIT_UP_TO else _ByOpen)(self, features)


@dataclass(frozen=True, slots=True)
class _Phase:
    """Steps of scikit-learn that are taken alike, up to a step, or until there is no gain for so many."""

    exaggeration: float
    momentum: float
    patience: int
    end: float = math.inf


_PHASES = (_Phase(12.0, 0.5, 250, end=250), _Phase(1.0, 0.8, 300))


class _ByScikit:
    """Gradient descent with momentum and gains over scikit-learn's objective."""

    _update: NDArray[Any]

    def __init__(self, wanted: Tsne, features: Floats) -> None:
        problem = scikit_problem(features, perplexity=wanted.perplexity, seed=wanted.seed)
        self._affinities, points, self._rate = (
            problem  # a float64 of NumPy, which makes float64 of the update, as there
        )
        self._points = points.copy()
        self._steps, self._every, self._done = wanted.steps, wanted.every, 0
        self._enter(0)

    def run(self) -> Generator[Frame, None, Frame]:
        for number, phase in enumerate(_PHASES):
            self._affinities *= phase.exaggeration
            while self._phase == number and self._done < self._steps:
                if (frame := self._step(phase)) is not None:
                    yield frame
            self._affinities /= phase.exaggeration
        kl, _ = scikit_divergence(self._affinities, self._points, measured=True)
        return Frame(self._done, self._points, kl)

    def state_dict(self) -> dict[str, Any]:
        descent = {"points": self._points, "update": self._update, "gains": self._gains}
        return {**descent, "done": self._done, "phase": self._phase, "best": self._best, "best_step": self._best_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["points"].shape != self._points.shape:
            raise ValueError(f"there were {len(state['points'])} points, now there are {len(self._points)}")
        self._points, self._update, self._gains = state["points"], state["update"], state["gains"]
        self._done, self._phase = state["done"], state["phase"]
        self._best, self._best_step = state["best"], state["best_step"]

    def _enter(self, phase: int) -> None:
        self._phase = phase
        self._update = np.zeros_like(self._points)
        self._gains = np.ones_like(self._points)
        self._best, self._best_step = math.inf, self._done

    def _step(self, phase: _Phase) -> Frame | None:
        """One step, and where the phase ends with it the first of the next is to come."""
        step = self._done + 1
        checked, shown = step % _CHECKED == 0, step % self._every == 0
        error, steepness = self._move(phase.momentum, measured=checked or shown)
        self._done = step
        if step == phase.end or (checked and self._is_over(error, steepness, phase.patience)):
            self._enter(self._phase + 1)
        kl = error / phase.exaggeration - math.log(phase.exaggeration)
        return Frame(step, self._points.copy(), kl) if shown else None

    def _move(self, momentum: float, *, measured: bool) -> tuple[float, float]:
        """Moves the points; the divergence before, NaN where not measured, and the length of the step's gradient."""
        error, gradient = scikit_divergence(self._affinities, self._points, measured=measured)
        turned = self._update * gradient < 0
        self._gains[turned] += 0.2
        self._gains[~turned] *= 0.8
        np.clip(self._gains, 0.01, np.inf, out=self._gains)
        gradient *= self._gains
        self._update = momentum * self._update - self._rate * gradient
        self._points += self._update
        return error, float(np.linalg.norm(gradient))

    def _is_over(self, error: float, steepness: float, patience: int) -> bool:
        if error < self._best:
            self._best, self._best_step = error, self._done
        elif self._done - self._best_step > patience:
            return True
        return steepness <= _FLAT


class _ByOpen:
    """openTSNE's descent, in stages."""

    def __init__(self, wanted: Tsne, features: Floats) -> None:
        self._embedding = open_problem(features, perplexity=wanted.perplexity, seed=wanted.seed)
        self._steps, self._every, self._done, self._kl = wanted.steps, wanted.every, 0, math.nan

    def run(self) -> Generator[Frame, None, Frame]:
        embedding, affinities, end = self._embedding, self._embedding.affinities, 0
        for stage in open_stages(len(embedding), self._steps):
            if stage.grows and self._done == end:
                embedding[:] = grown(embedding)
            # Once, as one call does: at every frame it would round differently. So, too, where the stage is over.
            affinities.P *= stage.exaggeration
            end += stage.steps
            while self._done < end:
                steps = min(self._every - self._done % self._every, end - self._done)
                embedding.optimize(steps, inplace=True, exaggeration=None, **stage.options(len(embedding)))
                self._done += steps
                self._kl = float(embedding.kl_divergence) / stage.exaggeration - math.log(stage.exaggeration)
                if self._done % self._every == 0:
                    yield Frame(self._done, np.array(embedding), self._kl)
            affinities.P /= stage.exaggeration
        return Frame(self._done, np.array(embedding), self._kl)

    def state_dict(self) -> dict[str, Any]:
        descent = self._embedding.optimizer
        moving = {"update": descent.update, "gains": descent.gains}
        return {**moving, "points": np.asarray(self._embedding), "done": self._done, "kl": self._kl}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._embedding[:] = state["points"]
        self._embedding.optimizer.update, self._embedding.optimizer.gains = state["update"], state["gains"]
        self._done, self._kl = state["done"], state["kl"]
