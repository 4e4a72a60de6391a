"""How a picture is optimised: parameters that texture and style share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.params import Params
from convscope_techniques.synthesis.update import LBFGS, Adam, Update

__all__ = ["OPTIMIZER_HELP", "OptimisedParams", "Optimizer", "by_layer"]

Optimizer = Literal["lbfgs", "adam"]
OPTIMIZER_HELP = "`lbfgs`, as in the papers, gets lowest; `adam` can have `jitter`, which leaves less grain."

_LAST_PART = 0.9
_JITTER = {"adam": 16, "lbfgs": 0}


class OptimisedParams(Params):
    """Steps, and the rule of each."""

    optimizer: Optimizer = Field("adam", description=OPTIMIZER_HELP)
    jitter: int | None = Field(
        None,
        ge=0,
        le=512,
        description="Steps see the picture rolled by up to so many pixels: without it, networks with strided "
        "convolutions leave a chequered grain. Where absent 16 for Adam, 0 for L-BFGS, which cannot have any.",
    )
    steps: int = Field(150, ge=1, le=10_000, description="Steps: forward and backward passes.")
    step_size: float = Field(5.0, gt=0, le=255, description="Change of a pixel in a step of Adam, in 1/255.")
    final_step_size: float = Field(
        0.5, gt=0, le=255, description="The same in the last tenth of the steps, where the picture settles."
    )
    history: int = Field(20, ge=1, le=200, description="Steps that L-BFGS remembers.")
    preview_every: int = Field(5, ge=1, le=1000, description="Show every so many steps.")

    @model_validator(mode="after")
    def _one_objective(self) -> Self:
        if self.optimizer == "lbfgs" and self.jitter:
            raise ValueError("lbfgs needs the same objective in every step: take jitter=0, or optimizer=adam")
        return self

    @property
    def reach(self) -> int:
        """The jitter."""
        return self.jitter if self.jitter is not None else _JITTER[self.optimizer]

    def update(self, steps: int) -> Update:
        """A new rule for so many steps."""
        if self.optimizer == "lbfgs":
            return LBFGS(self.history)
        first, last = self.step_size / 255, self.final_step_size / 255
        return Adam(lambda step: first if step < _LAST_PART * steps else last)


def by_layer(layers: list[str], weights: tuple[float, ...] | None, field: str) -> dict[str, float]:
    """The weight of each layer; equal ones that sum to 1 where none are given.

    Raises:
        InvalidParams: there are more or fewer weights than layers.
    """
    if weights is None:
        return dict.fromkeys(layers, 1 / len(layers))
    if len(weights) != len(layers):
        text = f"{len(weights)} weights for {len(layers)} layers: give one for each of {', '.join(layers)}"
        raise InvalidParams(f"{field}: {text}", violations=[FieldViolation(f"params.{field}", text)])
    return dict(zip(layers, weights, strict=True))
