"""What techniques that train a network share: their parameters, and a training that can be put down and taken up."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from convscope_sdk.errors import TechniqueError
from convscope_sdk.events import Checkpoint
from convscope_sdk.params import Params

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn
    from torch.optim import Optimizer

__all__ = ["CheckpointMismatch", "TrainingParams", "TrainingState"]

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class TrainingParams(Params):
    """Parameters of every technique that makes a model of the catalog.

    By them the host refuses a name that is taken before any work is done, and finds the checkpoint to go on with.
    """

    name: str = Field(
        "trained",
        max_length=100,
        pattern=_NAME,
        description="Name of the new model in the catalog. One that is taken is refused, unless `overwrite` is set or "
        "`resume` names it.",
    )
    overwrite: bool = Field(False, description="Whether the new model may take the place of one of the same name.")
    resume: str = Field(
        "",
        max_length=100,
        pattern=rf"^$|{_NAME}",
        description="Model whose training to go on with from its last checkpoint, to the same bits as if it had never "
        "stopped; `steps` counts from its beginning. Empty: begin anew.",
    )
    checkpoint_every: int = Field(
        500, ge=1, le=1_000_000, description="Steps between two checkpoints; one more is kept at the end."
    )


class CheckpointMismatch(TechniqueError):
    """The checkpoint is of another training than the one that is to go on with it."""

    code = "INVALID_ARGUMENT"
    reason = "CHECKPOINT_MISMATCH"


@dataclass(slots=True)
class TrainingState:
    """Everything that decides how a training goes on: put into a `Checkpoint`, and taken from one, bit for bit.

    A technique draws its random numbers from torch's generators and from `run.rng`, and nowhere else. In a `run.state`,
    whose host keeps the generators itself, it makes the run one that can be put down between any two steps:

        with run.state("training", training=training) as state:
            while training.step < run.params.steps: ...

    Attributes:
        module: What is trained.
        optimizer: Over its parameters.
        rng: The run's generator.
        settings: Plain values that must be the same in a run that goes on: losses, data, sizes, digests.
        step: Steps done.
    """

    module: nn.Module
    optimizer: Optimizer
    rng: np.random.Generator
    settings: Mapping[str, Any]
    step: int = 0

    def checkpoint(self, name: str) -> Checkpoint:
        """The state as it is now, in memory of its own."""
        import torch

        tensors = {f"module.{key}": value for key, value in self.module.state_dict().items()}
        tensors |= {key: value for key, value in self._remembered() if isinstance(value, torch.Tensor)}
        plain = {key: value for key, value in self._remembered() if not isinstance(value, torch.Tensor)}
        tensors["random.cpu"] = torch.get_rng_state()
        if self._on_cuda:
            tensors["random.cuda"] = torch.cuda.get_rng_state(self._device)
        facts = {"settings": dict(self.settings), "optimizer": plain, "rng": self.rng.bit_generator.state}
        copies = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in tensors.items()}
        return Checkpoint(name, self.step, copies, facts)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Be where the checkpoint was.

        Raises:
            CheckpointMismatch: it is of other settings, of another network, or cannot be read.
        """
        self._compare(checkpoint)
        try:
            self._load(checkpoint)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            message = f"the checkpoint of {checkpoint.name!r} does not fit this training: {error}"
            raise CheckpointMismatch(message[:400]) from error

    def state_dict(self) -> dict[str, Any]:
        """What was learned: everything that a run's state keeps of it. It shares memory with the module."""
        remembered = self.optimizer.state_dict()["state"]
        return {"step": self.step, "module": self.module.state_dict(), "optimizer": remembered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be where another was. What the optimizer was given, such as a step size, stays as it is."""
        self.module.load_state_dict(state["module"])
        groups = self.optimizer.state_dict()["param_groups"]
        remembered = copy.deepcopy(state["optimizer"])  # it would work on the tensors that it is given
        self.optimizer.load_state_dict({"state": remembered, "param_groups": groups})
        self.step = state["step"]

    @property
    def _device(self) -> Any:
        return next(self.module.parameters()).device

    @property
    def _on_cuda(self) -> bool:
        return bool(self._device.type == "cuda")

    def _remembered(self) -> Iterator[tuple[str, Any]]:
        for index, values in self.optimizer.state_dict()["state"].items():
            for key, value in values.items():
                yield f"optimizer.{index}.{key}", value

    def _compare(self, checkpoint: Checkpoint) -> None:
        # As files keep them: JSON has no tuples.
        before, now = (json.loads(json.dumps(dict(s))) for s in (checkpoint.facts["settings"], self.settings))
        if different := [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]:
            key = different[0]
            raise CheckpointMismatch(
                f"the training of {checkpoint.name!r} cannot go on with other settings: {', '.join(different)}; "
                f"{key} was {before.get(key)!r}, now it is {now.get(key)!r}. "
                f"Give it as it was, or begin a new training",
                metadata={"model": checkpoint.name, "different": ", ".join(different)},
            )

    def _load(self, checkpoint: Checkpoint) -> None:
        import torch

        tensors = checkpoint.tensors
        remembered: dict[int, dict[str, Any]] = {}
        found: dict[str, Any] = {**checkpoint.facts["optimizer"], **_under("optimizer.", tensors, keep=True)}
        for path, value in found.items():
            _, index, key = path.split(".", 2)
            remembered.setdefault(int(index), {})[key] = value
        module = _under("module.", tensors)
        self.load_state_dict({"step": checkpoint.step, "module": module, "optimizer": remembered})
        torch.set_rng_state(tensors["random.cpu"])
        if self._on_cuda and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self._device)
        self.rng.bit_generator.state = checkpoint.facts["rng"]


def _under(prefix: str, tensors: Mapping[str, Tensor], *, keep: bool = False) -> dict[str, Tensor]:
    found = {key: value for key, value in tensors.items() if key.startswith(prefix)}
    return found if keep else {key.removeprefix(prefix): value for key, value in found.items()}
