"""What a technique has to keep to be put down between two steps and taken up again, to the same bits.

    @technique("acme.ascent", resumable=True, steers={"step_size"})
    def ascent(run: Run[AscentParams]) -> Iterator[Event]:
        with run.state("ascent", pixels=run.image, step=0) as state:
            while state.step < run.params.steps:
                state.pixels = risen(run, state.pixels)
                state.step += 1
                yield Progress(state.step, run.params.steps)
                yield state
        yield Image("risen", state.pixels)

A run that goes on calls the technique's function once more: what comes before the state is done again, and what it
yields there is dropped; the state has the values of the checkpoint instead of those given; random generators are where
they were. So the code before a state depends on nothing but the run, and everything that changes afterwards, and
counts, is in an open state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from convscope_sdk.errors import TechniqueError
from convscope_sdk.packing import Packer, Unpacker

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["Memory", "Saved", "State", "StateMismatch"]

_FORMAT = 1


class StateMismatch(TechniqueError):
    """A checkpoint is of other states than those that the technique opens now."""

    code = "FAILED_PRECONDITION"
    reason = "STATE_MISMATCH"


class State:
    """Named values of a run, as attributes: what was given, or what the checkpoint has.

    Yielded, it says: here the run can be put down. `Progress` comes before, with a higher step each time.
    A name that was not given at the beginning is refused. Leaving its `with` block closes it.
    """

    _memory: Memory
    _name: str

    def __init__(self, memory: Memory, name: str, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values, _memory=memory, _name=name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dict__:
            known = ", ".join(self.values)
            raise AttributeError(f"state {self._name!r} has no {name!r}; it has {known}: give it when it is opened")
        self.__dict__[name] = value

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __repr__(self) -> str:
        return f"<State {self._name}: {', '.join(self.values)}>"

    @property
    def values(self) -> dict[str, Any]:
        """Its values by name, as they are now."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._memory.close(self._name)


@dataclass(frozen=True, slots=True)
class Saved:
    """A run at one step: `facts` are plain JSON, `tensors` lie on the CPU and are nobody else's."""

    facts: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]

    def by_way_of_json(self) -> Saved:
        """The same, as a file would give it."""
        return Saved(json.loads(json.dumps(self.facts)), self.tensors)


class Memory:
    """The open states of one run, and the checkpoint that it goes on from.

    Args:
        rng: The run's own generator.
        device: Where it computes.
        saved: What it goes on from.
        taken_up: Called when the last state of that is open again, and the generators are where they were.
    """

    def __init__(
        self,
        rng: np.random.Generator | None = None,
        device: str | torch.device = "cpu",
        saved: Saved | None = None,
        taken_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._rng = rng
        self._device = device
        self._saved = saved
        self._taken_up = taken_up
        self._states: dict[str, State] = {}

    @property
    def pending(self) -> bool:
        """Whether there is a checkpoint whose states are not all open yet: what is yielded now was yielded before."""
        return self._saved is not None

    def open(self, name: str, values: Mapping[str, Any]) -> State:
        """A state with these values, or with those that it had.

        Raises:
            ValueError: one of that name is open already.
            StateMismatch: the checkpoint has no such state next, or another kind of value in it.
        """
        if name in self._states:
            raise ValueError(f"a state {name!r} is open already; leave its `with` block first, or choose another name")
        if hidden := [key for key in values if key.startswith("_") or key == "values"]:
            raise ValueError(f"a state cannot keep {hidden[0]!r}: choose another name for it")
        if self._saved is not None:
            values = self._from(self._saved, name, values)
        state = self._states[name] = State(self, name, values)
        if self._saved is not None and list(self._states) == list(self._saved.facts["states"]):
            self._restore(self._saved)
        return state

    def close(self, name: str) -> None:
        """Keep it no more."""
        self._states.pop(name, None)

    def save(self) -> Saved:
        """The open states and the present random generators, which are the run's own, in memory of their own.

        Raises:
            TypeError: nothing can be kept of a value.
        """
        from convscope_sdk.isolation import RandomState

        packer = Packer()
        states = {
            name: {key: packer.pack(value, f"{name}.{key}") for key, value in state.values.items()}
            for name, state in self._states.items()
        }
        random = packer.pack(RandomState(self._device).state_dict(), "random")
        rng = None if self._rng is None else self._rng.bit_generator.state
        facts = {"format": _FORMAT, "states": states, "random": random, "rng": rng}
        return Saved(facts, packer.tensors)

    def _from(self, saved: Saved, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        states = saved.facts["states"]
        expected = list(states)[len(self._states)]
        if name != expected or states[name].keys() != values.keys():
            raise _mismatch(f"it opens {name!r} with {', '.join(values)}, where {expected!r} was open")
        unpacker = Unpacker(saved.tensors, self._device)
        try:
            return {key: unpacker.unpack(states[name][key], first) for key, first in values.items()}
        except (KeyError, ValueError) as error:
            raise _mismatch(f"{name}: {error}") from error

    def _restore(self, saved: Saved) -> None:
        from convscope_sdk.isolation import RandomState

        random = RandomState(self._device)
        random.load_state_dict(Unpacker(saved.tensors, "cpu").unpack(saved.facts["random"]))
        random.install()
        if self._rng is not None:
            self._rng.bit_generator.state = saved.facts["rng"]
        self._saved = None
        self._taken_up()


def _mismatch(why: str) -> StateMismatch:
    return StateMismatch(f"the checkpoint is of another technique, or of another version of this one: {why}"[:400])
