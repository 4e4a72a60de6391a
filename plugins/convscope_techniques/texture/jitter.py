"""A few places at which a picture is seen in turn, so that no stride of the network leaves its mark."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["Jitter", "Offset"]

Offset = tuple[int, int]

_PLACES = 8


class Jitter:
    """Offsets by which a picture is rolled, one for each step.

    Strided layers look at some pixels more than at others; what they overlook keeps the noise it began with, and what
    they favour gets a chequered grain. Seen from several places, every pixel counts alike.

    Args:
        reach: Offsets are from -reach to reach in each direction; zero for no jitter.
        rng: Draws eight of them, which then take turns: few enough to keep what was computed for each.
    """

    def __init__(self, reach: int, rng: np.random.Generator) -> None:
        drawn = rng.integers(-reach, reach + 1, (_PLACES if reach else 1, 2))
        self._offsets: deque[Offset] = deque((int(dy), int(dx)) for dy, dx in drawn)

    def next(self) -> Offset:
        """The next step's offset; (0, 0) while no gradient is asked for, when a picture is measured as it is."""
        if not torch.is_grad_enabled():
            return 0, 0
        self._offsets.rotate(-1)
        return self._offsets[-1]

    def state_dict(self) -> dict[str, Any]:
        """The offsets, the next one first."""
        return {"offsets": list(self._offsets)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was asked."""
        self._offsets = deque(state["offsets"])
