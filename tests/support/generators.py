"""The global random number generators, compared as values."""

from __future__ import annotations

import random

import numpy as np
import torch

__all__ = ["generator_states"]


def generator_states() -> tuple[bytes, str, object]:
    """The states of torch's, NumPy's and Python's generators; equal where the next numbers are."""
    legacy = np.random.get_state(legacy=False)
    return torch.get_rng_state().numpy().tobytes(), repr(legacy), random.getstate()
