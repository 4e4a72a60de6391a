"""How the command ends: exit codes, and what is said to whom."""

from __future__ import annotations

import typer

from convscope.errors import (
    ConvscopeError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

__all__ = ["EPILOG", "code_of", "complain", "words"]

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
UNREACHABLE = 4
REFUSED = 5
INTERRUPTED = 130

EPILOG = (
    f"Exit codes: {OK} done, {FAILED} the run failed or was cancelled by somebody else, {USAGE} wrong usage or an "
    f"invalid argument, {NOT_FOUND} no such technique, model, layer or run, {UNREACHABLE} the server cannot be "
    f"reached, {REFUSED} refused: not allowed, not applicable or no room, {INTERRUPTED} stopped by Ctrl-C."
)

# The first that fits counts. A run that failed is judged by what it failed of, as a call would be.
_CODES: tuple[tuple[type[ConvscopeError], int], ...] = (
    (InvalidArgument, USAGE),
    (NotFound, NOT_FOUND),
    (Unavailable, UNREACHABLE),
    (PermissionDenied, REFUSED),
    (Unauthenticated, REFUSED),
    (FailedPrecondition, REFUSED),
    (ResourceExhausted, REFUSED),
)


def code_of(error: ConvscopeError) -> int:
    """The exit code that tells a script what went wrong."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def words(error: ConvscopeError) -> str:
    """The error for a person: its message, and each argument at fault that the message leaves out."""
    lines = [error.message or error.reason or error.code]
    lines += [f"  {v.field}: {v.description}" for v in error.violations if v.description not in error.message]
    return "\n".join(lines)


def complain(message: str) -> None:
    """One message on standard error."""
    typer.echo(f"convscope: {message}", err=True)
