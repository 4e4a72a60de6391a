"""How much is kept, and how long."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KeepLimits"]


@dataclass(frozen=True, slots=True)
class KeepLimits:
    """Bounds of what is kept; 0 sets none.

    Attributes:
        seconds: Time after its end that a run is kept.
        bytes: Bytes that runs may take together: logs, inputs and results, but for what image sets hold as well.
        upload_seconds: Time that an upload is kept which nothing refers to.
    """

    seconds: float = 0.0
    bytes: int = 0
    upload_seconds: float = 86400.0
