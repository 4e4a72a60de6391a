"""How results become files in formats that the host does not write by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope_sdk.events import ResultKind

if TYPE_CHECKING:
    from convscope_sdk.render import Rendered

__all__ = ["HOST_MEDIA_TYPES", "ArtifactEncoder"]

HOST_MEDIA_TYPES: dict[str, ResultKind] = {
    "image/png": "image",
    "application/x-npy": "tensor",
    "application/json": "table",
    "text/plain": "text",
    "text/html": "text",
}
"""What the host writes by itself, and of what."""


@dataclass(frozen=True, slots=True)
class ArtifactEncoder:
    """A format that results of one kind can be asked for in.

    A run has it where its request names the media type. The host draws; the encoder writes what was drawn.

    Attributes:
        media_type: IANA media type of what it writes ("image/webp"). None of `HOST_MEDIA_TYPES`.
        kind: Of the results that it takes.
        encode: Gives the file for one result; `value` is a PIL image, a NumPy array, a list of rows or a string.
            What it raises ends its run, and no other.
    """

    media_type: str
    kind: ResultKind
    encode: Callable[[Rendered], bytes]
