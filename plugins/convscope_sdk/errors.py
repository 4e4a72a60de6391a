"""What a technique, a network or an image can refuse, and why.

    TechniqueError              the caller can fix it; its text reaches the caller
    ├── InvalidParams           a parameter is unknown, of the wrong type or out of range
    ├── InvalidTarget           a target or layer reference that cannot be read
    ├── InvalidImage            a picture that cannot be decoded or is too large
    ├── InvalidImageSet         an image set that is empty, unreadable, or changed under the reader
    ├── UnknownName             no layer, class or image of that name; carries near names
    ├── NotApplicable           the technique means nothing for this network
    ├── OutOfMemory             the device cannot hold it
    └── DiskFull                there is no room for what the run keeps on disk

Anything else that a technique raises is a bug of the technique: the caller gets a reference, the log
gets the traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = [
    "DiskFull",
    "FieldViolation",
    "InvalidImage",
    "InvalidImageSet",
    "InvalidParams",
    "InvalidTarget",
    "NotApplicable",
    "OutOfMemory",
    "TechniqueError",
    "UnknownName",
    "near_names",
    "shown",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One argument at fault: the path of its field, and what was given and what is allowed."""

    field: str
    description: str


class TechniqueError(Exception):
    """A refusal that the caller can act on: the message says what happened and what to do next.

    Attributes:
        code: Canonical gRPC status name that a server answers with.
        reason: Stable word for programs, in capitals.
        metadata: Facts behind the reason, as strings.
        violations: Arguments at fault.
    """

    code: str = "FAILED_PRECONDITION"
    reason: str = "TECHNIQUE_REFUSED"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[FieldViolation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)


class InvalidParams(TechniqueError):
    """A parameter is unknown, of the wrong type, or out of range."""

    code = "INVALID_ARGUMENT"
    reason = "PARAMS_INVALID"


class InvalidTarget(TechniqueError, ValueError):
    """A target or layer reference that cannot be read. Is a ValueError, so that pydantic reports the field."""

    code = "INVALID_ARGUMENT"
    reason = "TARGET_INVALID"


class InvalidImage(TechniqueError):
    """A picture that cannot be decoded, or has more pixels than are allowed."""

    code = "INVALID_ARGUMENT"
    reason = "IMAGE_INVALID"


class InvalidImageSet(TechniqueError):
    """An image set that is empty, has no readable picture, or changed while it was read."""

    reason = "IMAGE_SET_INVALID"


class UnknownName(TechniqueError):
    """Nothing has that name; `metadata["near"]` holds the nearest names, comma-separated."""

    code = "NOT_FOUND"
    reason = "NOT_FOUND"

    @classmethod
    def among(cls, kind: str, name: str, names: Iterable[str], *, hint: str = "") -> UnknownName:
        """The error for a `kind` ("layer") called `name` that is not among `names`."""
        near = near_names(name, names)
        message = f"no {kind} {name!r}"
        if near:
            message += f"; did you mean {' or '.join(repr(n) for n in near)}?"
        if hint:
            message += f" ({hint})"
        reason = f"{kind.upper().replace(' ', '_')}_NOT_FOUND"
        return cls(message, reason=reason, metadata={"name": name, "near": ", ".join(near)})


class NotApplicable(TechniqueError):
    """The technique means nothing for this network; the message names what does apply."""

    reason = "TECHNIQUE_NOT_APPLICABLE"


class OutOfMemory(TechniqueError):
    """The device cannot hold what the run needs; the message names sizes and a smaller request."""

    code = "RESOURCE_EXHAUSTED"
    reason = "OUT_OF_MEMORY"


class DiskFull(TechniqueError):
    """There is no room for what the run keeps on disk; the message names the place and the size."""

    code = "RESOURCE_EXHAUSTED"
    reason = "DISK_FULL"


def near_names(name: str, names: Iterable[str], *, limit: int = 3) -> list[str]:
    """At most `limit` of `names` that look or contain like `name`, nearest first."""
    by_folded = {candidate.casefold(): candidate for candidate in names}
    folded = name.casefold()
    near = difflib.get_close_matches(folded, by_folded, n=limit, cutoff=0.6)
    near += [c for c in by_folded if folded and folded in c and c not in near]
    return [by_folded[c] for c in near[:limit]]


def shown(value: object, *, length: int = 80) -> str:
    """The value as an error message shows it: its repr, cut after `length` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to spell out an integer of more than 4,300 digits
        text = f"a {type(value).__name__} of thousands of digits"
    return text if len(text) <= length else text[:length] + "…"
