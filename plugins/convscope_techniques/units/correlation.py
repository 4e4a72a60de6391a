"""What a unit's answers go along with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["by_class", "by_label"]

Floats = NDArray[np.floating[Any]]


def by_class(answers: Floats, logits: Floats) -> NDArray[np.float64]:
    """(classes,) Pearson's correlation of answers (n,) with each logit (n, classes); 0 where one is constant."""
    unit = answers.astype(np.float64) - answers.mean(dtype=np.float64)
    scores = logits.astype(np.float64) - logits.mean(0, dtype=np.float64)
    lengths = np.linalg.norm(unit) * np.linalg.norm(scores, axis=0)
    found: NDArray[np.float64] = np.divide(unit @ scores, lengths, out=np.zeros(scores.shape[1]), where=lengths > 0)
    return found


def by_label(answers: Floats, labels: Sequence[str]) -> list[dict[str, Any]]:
    """For each label: how many pictures, their mean answer, and its correlation with being of it; highest first."""
    rows = []
    for label in sorted(set(labels)):
        member = np.array([[one == label] for one in labels], np.float64)
        rows.append(
            {
                "label": label,
                "pictures": int(member.sum()),
                "mean": float(answers[member[:, 0] > 0].mean()),
                "correlation": float(by_class(answers, member)[0]),
            }
        )
    return sorted(rows, key=lambda row: -row["correlation"])
