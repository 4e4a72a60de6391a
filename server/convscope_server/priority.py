"""How urgent a run is, to the front end's queue and to the workers' turns alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

__all__ = ["RANK", "WEIGHT", "Priority"]

Priority = Literal["interactive", "normal", "batch"]

RANK: Mapping[Priority, int] = {"interactive": 0, "normal": 1, "batch": 2}
"""The order in which one principal's waiting runs start."""

WEIGHT: Mapping[Priority, float] = {"interactive": 4.0, "normal": 1.0, "batch": 0.25}
"""How much of a device a run gets beside others, in shares."""
