"""What a training lost on its way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Losses"]


class Losses:
    """Rows of a table that grows with a training, all with the same columns; kept as a column each.

    Attributes:
        rows: Whole and other numbers by column.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """An array for each column."""
        columns = self.rows[0] if self.rows else {}
        return {column: np.array([row[column] for row in self.rows]) for column in columns}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the rows that others had."""
        values = zip(*(array.tolist() for array in state.values()), strict=True)
        self.rows = [dict(zip(state, row, strict=True)) for row in values]
