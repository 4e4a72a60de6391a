"""What is said of a run between its steps: put it down, change its parameters."""

from __future__ import annotations

from typing import Any

import msgspec

from convscope_server.runs.events import Error

__all__ = ["MOVED", "CheckParams", "Steer", "Suspend", "Suspended", "Update"]

MOVED = Error("UNAVAILABLE", "the run left its device before the change could be made; ask again", "RUN_MOVED")
"""Who asks for a change comes too late, or too early."""


class Update(msgspec.Struct, frozen=True):
    """Other values for some parameters, from behind `step` on."""

    params: dict[str, Any]
    step: int


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
