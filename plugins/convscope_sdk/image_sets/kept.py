"""What was derived from a part of an index: made once, mapped when it is read, gone when the index goes."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kept"]

Arrays = Mapping[str, NDArray[Any]]


class Kept:
    """Arrays by the name of what they are, beside the part of an index that they were derived from.

    Args:
        directory: Where; made when something is kept.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, name: str) -> Arrays | None:
        """What was kept under that name, mapped read-only; None where nothing was.

        Args:
            name: Letters, digits, dots and dashes.
        """
        try:
            files = sorted((self._directory / name).iterdir())
            return {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in files}
        except (OSError, ValueError, EOFError):  # not there, being removed, or nothing that numpy wrote
            return None

    def keep(self, name: str, arrays: Arrays) -> Arrays:
        """Keep them for the next time where there is room, all or none. Gives them as they are."""
        temporary = self._directory / f"{name}.{uuid.uuid4().hex}.new"
        try:
            temporary.mkdir(parents=True)
            for array, values in arrays.items():
                np.save(temporary / f"{array}.npy", values, allow_pickle=False)
            temporary.rename(self._directory / name)
        except OSError:  # no room, or somebody was faster: what is derived again is the same
            shutil.rmtree(temporary, ignore_errors=True)
        return arrays
