"""The two colour maps: one for amounts, one for values around zero."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIVERGING", "SEQUENTIAL", "Colormap"]


@dataclass(frozen=True, slots=True)
class Colormap:
    """Colours for values in [0, 1], by straight lines between evenly spaced control colours.

    Attributes:
        name: As matplotlib calls it.
        controls: Control colours, RRGGBB in hexadecimal, separated by spaces.
    """

    name: str
    controls: str

    def __call__(self, values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """RGB of values in [0, 1], uint8, with one more axis of three; values outside take an end colour."""
        return _table(self.controls)[self.places(values)]

    def places(self, values: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
        """Where values in [0, 1] stand in `table`."""
        return np.asarray(np.rint(values * np.float32(_STEPS - 1)).clip(0, _STEPS - 1), dtype=np.intp)

    @property
    def table(self) -> NDArray[np.uint8]:
        """(1024, 3) colours from one end to the other, uint8."""
        return _table(self.controls)


# Finer than 8 bits can show between two control colours.
_STEPS = 1024


@functools.cache
def _table(controls: str) -> NDArray[np.uint8]:
    points = np.frombuffer(bytes.fromhex(controls), dtype=np.uint8).reshape(-1, 3)
    places, steps = np.linspace(0, 1, len(points)), np.linspace(0, 1, _STEPS)
    channels = [np.interp(steps, places, points[:, channel]) for channel in range(3)]
    return np.asarray(np.rint(np.stack(channels, axis=-1)), dtype=np.uint8)


SEQUENTIAL = Colormap(
    "inferno",
    "000004 040312 0b0724 150b37 210c4a 2e0a5a 3c0965 4a0c6b 57106d 63146e 70196e "
    "7d1e6d 89226a 962766 a32b61 af315c bb3755 c63e4d d14644 db4f3b e35932 eb6528 "
    "f1711e f67f14 f98d0a fb9c06 fcab0f fbba1f f9ca32 f5d949 f2e865 f3f586 fcffa4",
)
"""From black over red to pale yellow, evenly brighter with the value. By S. van der Walt and N. Smith."""

DIVERGING = Colormap(
    "RdBu_r",
    "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f",
)
"""Blue below the middle, white in it, red above. ColorBrewer, by C. Brewer."""
