"""What is said of a run between its steps: put it down, change its parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from convscope_server.runs.events import Error

__all__ = ["MOVED", "CheckParams", "Steer", "Suspend", "Suspended", "Update", "overruled"]

MOVED = Error("UNAVAILABLE", "the run left its device before the change could be made; ask again", "RUN_MOVED")
"""Who asks for a change comes too late, or too early."""


class Update(msgspec.Struct, frozen=True):
    """Other values for some parameters, from behind `step` on; `made` on the way, and not planned from the start."""

    params: dict[str, Any]
    step: int
    made: bool = False


def overruled(updates: Iterable[Update], by: Update) -> list[Update]:
    """Changes without what a newer one decides: a run that fell back may have been changed later on before."""
    found = []
    for update in updates:
        if update.made and update.step > by.step:
            left = {name: value for name, value in update.params.items() if name not in by.params}
            update = msgspec.structs.replace(update, params=left)  # noqa: PLW2901 - the same one, with less in it
        if update.params:
            found.append(update)
    return found


class Suspend(msgspec.Struct, frozen=True, tag=True):
    """Put a run down at its next step, keeping a checkpoint. Only where its technique is resumable."""

    run: str


class Steer(msgspec.Struct, frozen=True, tag=True):
    """Change parameters of a run at its next step. Replies once they hold, or have been refused."""

    request: int
    run: str
    params: dict[str, Any]


class CheckParams(msgspec.Struct, frozen=True, tag=True):
    """Whether a technique takes these parameters. Replies."""

    request: int
    technique: str
    params: dict[str, Any]


class Suspended(msgspec.Struct, frozen=True, tag=True):
    """A run is off the worker, and can go on from its last checkpoint, or from its beginning where it has none.

    Where it has not `left`, no checkpoint could be kept: it goes on where it is.
    """

    run: str
    left: bool = True
