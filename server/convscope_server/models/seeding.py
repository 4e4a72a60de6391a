"""Random numbers that belong to a model: the same name gives the same ones in every process."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager

__all__ = ["seeded"]


def seeded(name: str, device: str = "cpu") -> AbstractContextManager[None]:
    """Within it torch's, NumPy's and Python's generators are seeded by `name`; afterwards they are as they were."""
    from convscope_sdk.isolation import RandomState

    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return RandomState.seeded(seed, device).swapped_in()
