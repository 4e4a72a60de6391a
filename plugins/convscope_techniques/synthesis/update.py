"""Rules by which a code moves to where its objective is smaller.

An update remembers what it has seen: take a new one for each picture. Runs keep it in their states.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

__all__ = ["LBFGS", "Adam", "CarefulMomentum", "Momentum", "Normalised", "StepSize", "Update"]

StepSize = float | Callable[[int], float]
"""A step size, or what it is at step 0, 1, 2, …"""

_BETAS = (0.9, 0.999)
_ADAM_EPSILON = 1e-8
_LEAST_CURVATURE = 1e-10
_SHORTEN = 0.25
_SHORTEST = 1e-3


class Update(ABC):
    """A rule for the next code.

    Attributes:
        kept: Names of the attributes that hold what it has seen; a subclass names those of its own too.
    """

    kept: ClassVar[tuple[str, ...]] = ("_steps",)

    def __init__(self) -> None:
        self._steps = 0

    @abstractmethod
    def next(self, code: Tensor, value: float, gradient: Tensor) -> Tensor:
        """Where to look next, from the objective and its gradient at `code`; leaves its arguments alone."""

    def forget_values(self) -> None:  # noqa: B027 - most rules compare none
        """The objective is another one from now on: values of before are not to be compared with those that come."""

    def state_dict(self) -> dict[str, Any]:
        """What it has seen: the tensors themselves, no copies."""
        return {name: getattr(self, name) for name in self.kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have seen what `state_dict` gave."""
        for name in self.kept:
            setattr(self, name, state[name])


class Normalised(Update):
    """code - step_size · g / mean|g|: every step changes the code by `step_size` on average (DeepDream)."""

    def __init__(self, step_size: StepSize) -> None:
        super().__init__()
        self._step_size = step_size

    def next(self, code: Tensor, value: float, gradient: Tensor) -> Tensor:  # noqa: ARG002 - as every rule
        """The code one step on; the same code where the gradient is zero."""
        size = _at(self._step_size, self._steps)
        self._steps += 1
        return code - gradient * (size / gradient.abs().mean().clamp(min=torch.finfo(gradient.dtype).tiny))


class Momentum(Update):
    """v = momentum · v + g; code - step_size · v. Plain gradient descent at momentum = 0."""

    kept: ClassVar[tuple[str, ...]] = ("_steps", "_velocity")

    def __init__(self, step_size: StepSize, momentum: float = 0.9) -> None:
        super().__init__()
        self._step_size = step_size
        self._momentum = momentum
        self._velocity: Tensor | None = None

    def next(self, code: Tensor, value: float, gradient: Tensor) -> Tensor:  # noqa: ARG002 - as every rule
        """The code one step on."""
        velocity = gradient if self._velocity is None else self._momentum * self._velocity + gradient
        size = _at(self._step_size, self._steps)
        self._velocity, self._steps = velocity, self._steps + 1
        return code - size * velocity


class CarefulMomentum(Momentum):
    """Momentum that goes back to its best code with a quarter of the step when the objective is above where it began.

    Attributes:
        cuts: How often the step was cut so far.
    """

    kept = (*Momentum.kept, "cuts", "_limit", "_best")

    def __init__(self, step_size: StepSize, momentum: float = 0.9) -> None:
        super().__init__(lambda step: _SHORTEN**self.cuts * _at(step_size, step), momentum)
        self.cuts = 0
        self.forget_values()

    def forget_values(self) -> None:
        """The next value is the first again, and the best."""
        self._limit = math.inf
        self._best = math.inf, torch.zeros(0), torch.zeros(0)

    def next(self, code: Tensor, value: float, gradient: Tensor) -> Tensor:
        """The code one step on, or one shorter step on from the best."""
        self._limit = value if math.isinf(self._limit) else self._limit
        if value < self._best[0]:
            self._best = value, code, gradient
        elif not value <= self._limit:  # NaN is no better
            self.cuts += 1
            self._velocity = None
            value, code, gradient = self._best
        return super().next(code, value, gradient)


class Adam(Update):
    """Kingma & Ba 2015, arXiv:1412.6980: steps of about `step_size` for every number of the code."""

    kept = ("_steps", "_mean", "_square")

    def __init__(self, step_size: StepSize) -> None:
        super().__init__()
        self._step_size = step_size
        self._mean: Tensor | None = None
        self._square: Tensor | None = None

    def next(self, code: Tensor, value: float, gradient: Tensor) -> Tensor:  # noqa: ARG002 - as every rule
        """The code one step on."""
        size = _at(self._step_size, self._steps)
        self._steps += 1
        first, second = _BETAS
        self._mean = _blend(self._mean, gradient, first)
        self._square = _blend(self._square, gradient.square(), second)
        mean = self._mean / (1 - first**self._steps)
        root = (self._square / (1 - second**self._steps)).sqrt_().add_(_ADAM_EPSILON)
        return code - size * mean / root


class LBFGS(Update):
    """Limited-memory BFGS (Liu & Nocedal 1989): one evaluation a step, and the objective of what it keeps never rises.

    A code whose objective is worse than that of the one before is given up: the next is nearer to the last good
    one. The first step has an L1 length of at most one, as torch's has. Curvature is taken from codes as they come
    back, so they may have been clipped to bounds in between.

    Args:
        history: Pairs of differences that stand for the curvature.
    """

    def __init__(self, history: int = 20) -> None:
        super().__init__()
        self._pairs: deque[_Pair] = deque(maxlen=history)
        self._origin: _Origin | None = None

    def forget_values(self) -> None:
        """Begin anew where it is: curvature of another objective says nothing either."""
        self._pairs.clear()
        self._origin = None

    def state_dict(self) -> dict[str, Any]:
        """The pairs, and the origin."""
        return {"pairs": list(map(tuple, self._pairs)), "origin": self._origin and tuple(self._origin)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have seen what `state_dict` gave."""
        self._pairs.clear()
        self._pairs.extend(_Pair(*pair) for pair in state["pairs"])
        self._origin = state["origin"] and _Origin(*state["origin"])

    def next(self, code: Tensor, value: float, gradient: Tensor) -> Tensor:
        """A code to try."""
        origin = self._origin
        if origin is not None and not value <= origin.value:  # NaN is no better either
            self._origin = origin = self._nearer(origin)
            return origin.trial
        if origin is not None:
            self._remember((code - origin.code).flatten(), (gradient - origin.gradient).flatten())
        self._origin = origin = self._towards(code, value, gradient)
        return origin.trial

    def _towards(self, code: Tensor, value: float, gradient: Tensor) -> _Origin:
        direction = self._newton(gradient).neg_()
        if self._pairs and not float((direction * gradient).sum()) < 0:
            self._pairs.clear()
            direction = -gradient
        length = 1.0 if self._pairs else _first_length(gradient)
        return _Origin(code, value, gradient, direction, length)

    def _nearer(self, origin: _Origin) -> _Origin:
        if self._pairs and origin.length < _SHORTEST:  # the curvature is of no use here
            self._pairs.clear()
            direction, length = -origin.gradient, _first_length(origin.gradient)
        else:
            direction, length = origin.direction, origin.length * _SHORTEN
        return _Origin(origin.code, origin.value, origin.gradient, direction, length)

    def _remember(self, step: Tensor, change: Tensor) -> None:
        curvature = float(step.dot(change))
        if curvature > _LEAST_CURVATURE:
            self._pairs.append(_Pair(step, change, curvature))

    def _newton(self, gradient: Tensor) -> Tensor:
        """The inverse Hessian, as far as the pairs know it, times the gradient: Nocedal's two loops."""
        vector = gradient.flatten().clone()
        shares: list[float] = []
        for pair in reversed(self._pairs):
            share = float(pair.step.dot(vector)) / pair.curvature
            vector.add_(pair.change, alpha=-share)
            shares.append(share)
        if self._pairs:
            last = self._pairs[-1]
            vector *= last.curvature / float(last.change.dot(last.change))
        for pair, share in zip(self._pairs, reversed(shares), strict=True):
            vector.add_(pair.step, alpha=share - float(pair.change.dot(vector)) / pair.curvature)
        return vector.view_as(gradient)


class _Pair(NamedTuple):
    """How the gradient changed over a step."""

    step: Tensor
    change: Tensor
    curvature: float


class _Origin(NamedTuple):
    """The last good code, and the way from it that is being tried."""

    code: Tensor
    value: float
    gradient: Tensor
    direction: Tensor
    length: float

    @property
    def trial(self) -> Tensor:
        return self.code + self.length * self.direction


def _first_length(gradient: Tensor) -> float:
    return min(1.0, 1.0 / max(float(gradient.abs().sum()), torch.finfo(gradient.dtype).tiny))


def _blend(before: Tensor | None, now: Tensor, keep: float) -> Tensor:
    return now * (1 - keep) if before is None else before.mul_(keep).add_(now, alpha=1 - keep)


def _at(step_size: StepSize, step: int) -> float:
    return step_size(step) if callable(step_size) else step_size
