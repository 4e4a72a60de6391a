"""What a technique yielded, by kind and name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch

from convscope_sdk import events

__all__ = ["Collected", "array"]

E = TypeVar("E")


class Collected:
    """Every event of one run."""

    def __init__(self, stream: Iterator[events.Event]) -> None:
        self.events = list(stream)

    def all(self, kind: type[E]) -> list[E]:
        """The events of one class, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[E], name: str) -> E:
        """The result of that class and name; there is exactly one."""
        (event,) = (event for event in self.all(kind) if getattr(event, "name", None) == name)
        return event

    def tensor(self, name: str) -> torch.Tensor:
        """Values of the tensor or heatmap of that name."""
        (event,) = (e for e in self.events if isinstance(e, events.Tensor | events.Heatmap) and e.name == name)
        return torch.as_tensor(event.values)

    @property
    def scores(self) -> dict[str, float]:
        return {name: value for event in self.all(events.Scores) for name, value in event.values.items()}

    @property
    def notes(self) -> list[str]:
        return [note.text for note in self.all(events.Note)]

    def arrays(self) -> list[np.ndarray[Any, Any]]:
        """Everything numeric that was yielded, to compare runs or look for NaN."""
        found = []
        for event in self.events:
            for field in ("image", "values", "tiles"):
                value = getattr(event, field, None)
                if isinstance(value, torch.Tensor | np.ndarray):
                    found.append(array(value))
        return found


def array(value: Any) -> np.ndarray[Any, Any]:
    """A tensor or array as a NumPy array."""
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
