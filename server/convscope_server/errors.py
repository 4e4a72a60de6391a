"""Refusals that reach a caller, as one exception that carries an `Error`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from convscope_sdk.errors import TechniqueError, UnknownName
from convscope_server.runs.events import Error, FieldViolation

__all__ = ["RequestError", "error_of", "looked_up"]

T = TypeVar("T")


class RequestError(Exception):
    """The server will not or cannot do what was asked; `error` says why and what to do, fit for the caller."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error

    @classmethod
    def of(cls, code: str, reason: str, message: str, *, metadata: Mapping[str, str] | None = None) -> RequestError:
        """The refusal with a canonical status name, a stable reason and a message for a person."""
        return cls(Error(code, message, reason, dict(metadata or {})))

    @classmethod
    def invalid(cls, reason: str, violations: Iterable[tuple[str, str]]) -> RequestError:
        """INVALID_ARGUMENT with the fields at fault: (path, what was given and what is allowed) each."""
        found = tuple(FieldViolation(field, description) for field, description in violations)
        message = "; ".join(f"{v.field}: {v.description}" for v in found)
        return cls(Error("INVALID_ARGUMENT", message[:1000], reason, {}, found))

    @classmethod
    def unknown(cls, kind: str, name: str, names: Iterable[str], *, hint: str = "") -> RequestError:
        """NOT_FOUND with the nearest of `names`."""
        return cls(error_of(UnknownName.among(kind, name, names, hint=hint)))


def looked_up(kind: str, name: str, of: Mapping[str, T]) -> T:
    """What has that name.

    Raises:
        RequestError: nothing has; NOT_FOUND with the nearest names.
    """
    if name not in of:
        raise RequestError.unknown(kind, name, of)
    return of[name]


def error_of(refusal: TechniqueError) -> Error:
    """What a technique, network or image refused, as an `Error`."""
    violations = tuple(FieldViolation(v.field, v.description) for v in refusal.violations)
    return Error(refusal.code, refusal.message, refusal.reason, dict(refusal.metadata), violations)
