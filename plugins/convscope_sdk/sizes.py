"""Networks that take pictures of one size only, and say so in their own ways."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from convscope_sdk.errors import NotApplicable, TechniqueError

__all__ = ["sizes_refused"]

_ABOUT_SIZES = re.compile(r"\b(size|sizes|shape|shapes|height|width|dimension|dimensions)\b", re.IGNORECASE)
_LONGEST = 200


@contextmanager
def sizes_refused(name: str, input_size: int, pixels: Tensor) -> Iterator[None]:
    """A context manager for a pass through a network: its own complaint about the picture's size becomes a refusal.

    Args:
        name: The network's.
        input_size: Edge of the square pictures that it is made for; of those, no complaint is taken for a refusal.
        pixels: (B, 3, H, W).

    Raises:
        NotApplicable: says which size to take.
    """
    try:
        yield
    except (AssertionError, RuntimeError, ValueError) as error:  # the network's: libraries raise any of them
        height, width = pixels.shape[-2:]
        fits = height == width == input_size
        ours = isinstance(error, TechniqueError | torch.OutOfMemoryError | torch.AcceleratorError)
        if fits or ours or not _ABOUT_SIZES.search(str(error)):
            raise
        said = str(error).splitlines()[0][:_LONGEST]
        raise NotApplicable(
            f"{name} does not take a picture of {width}x{height}: {said}; take fit=crop and size={input_size}",
            metadata={"size": str(input_size)},
        ) from error
