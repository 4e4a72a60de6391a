"""Everything that a call or a run can raise.

    ConvscopeError                  the root: `except convscope.ConvscopeError` catches all of it
    ├── InvalidArgument             an argument is wrong; `violations` names the fields
    ├── NotFound                    no technique, model, layer, run or content of that name
    ├── AlreadyExists               the request id belongs to another request
    ├── FailedPrecondition          right in itself, but not now or not with this model
    ├── ResourceExhausted           too large, or the server is full
    ├── PermissionDenied            this token may not do that
    ├── Unauthenticated             no token, or a wrong one
    ├── Unavailable                 the server cannot be reached, or takes no runs now
    │   └── ConnectionLost          … and did not come back in time; the run goes on without us
    ├── DeadlineExceeded            it took longer than it was given; also a TimeoutError
    ├── Cancelled                   somebody stopped it
    │   └── RunCancelled            … the run, before it was done
    ├── Internal                    a bug of the server, of a plugin or of this client
    └── RunFailed                   the run ended with an error. It is also one of the above where its code
                                    says so: a layer that does not exist is RunFailed *and* NotFound,
                                    whether the server or only the worker could tell.

The message is the server's own, word for word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "Cancelled",
    "ConnectionLost",
    "ConvscopeError",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "ResourceExhausted",
    "RunCancelled",
    "RunFailed",
    "Unauthenticated",
    "Unavailable",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One argument at fault: the path of its field ("params.octaves"), what was given and what is allowed."""

    field: str
    description: str


class ConvscopeError(Exception):
    """What went wrong, in words and for programs.

    Attributes:
        message: For a person: what happened and what to do next.
        code: Canonical gRPC status name, such as "NOT_FOUND".
        reason: Stable word for programs, such as "LAYER_NOT_FOUND"; empty where the server gave none.
        metadata: Facts behind the reason: near names, sizes, a log reference.
        violations: The arguments at fault.
        run_id: The run it is about, or "".
    """

    default_code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[FieldViolation] = (),
        run_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.run_id = run_id


class InvalidArgument(ConvscopeError, ValueError):
    """An argument is wrong; `violations` names each field at fault."""

    default_code = "INVALID_ARGUMENT"


class NotFound(ConvscopeError, LookupError):
    """Nothing has that name; `metadata["near"]` holds the nearest ones where there are any."""

    default_code = "NOT_FOUND"


class AlreadyExists(ConvscopeError):
    """The request id was used for another request."""

    default_code = "ALREADY_EXISTS"


class FailedPrecondition(ConvscopeError):
    """Right in itself, but not now or not with this model."""

    default_code = "FAILED_PRECONDITION"


class ResourceExhausted(ConvscopeError):
    """Too large, or the server is full."""

    default_code = "RESOURCE_EXHAUSTED"


class PermissionDenied(ConvscopeError):
    """This token may not do that."""

    default_code = "PERMISSION_DENIED"


class Unauthenticated(ConvscopeError):
    """The server wants a token, or another one."""

    default_code = "UNAUTHENTICATED"


class Unavailable(ConvscopeError, ConnectionError):
    """The server cannot be reached, or takes no runs now."""

    default_code = "UNAVAILABLE"


class ConnectionLost(Unavailable):
    """The server did not come back in time. `run_id` names the run; `attach` finds it again."""


class DeadlineExceeded(ConvscopeError, TimeoutError):
    """It took longer than it was given."""

    default_code = "DEADLINE_EXCEEDED"


class Cancelled(ConvscopeError):
    """Somebody stopped it."""

    default_code = "CANCELLED"


class Internal(ConvscopeError):
    """A bug of the server, of a plugin or of this client; `metadata` holds the log reference."""

    default_code = "INTERNAL"


class RunCancelled(Cancelled):
    """The run was stopped; `reason` is "REQUESTED", "DISCONNECTED" or "DRAINING"."""


class RunFailed(ConvscopeError):
    """The run ended with an error; `code` and `reason` say which."""


class _RunInvalidArgument(RunFailed, InvalidArgument):
    pass


class _RunNotFound(RunFailed, NotFound):
    pass


class _RunFailedPrecondition(RunFailed, FailedPrecondition):
    pass


class _RunResourceExhausted(RunFailed, ResourceExhausted):
    pass


class _RunUnavailable(RunFailed, Unavailable):
    pass


class _RunDeadlineExceeded(RunFailed, DeadlineExceeded):
    pass


class _RunInternal(RunFailed, Internal):
    pass


_CALL_ERRORS = (
    InvalidArgument,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    ResourceExhausted,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    DeadlineExceeded,
    Cancelled,
    Internal,
)
_RUN_ERRORS = (
    _RunInvalidArgument,
    _RunNotFound,
    _RunFailedPrecondition,
    _RunResourceExhausted,
    _RunUnavailable,
    _RunDeadlineExceeded,
    _RunInternal,
)
_CALL_ERROR_BY_CODE: dict[str, type[ConvscopeError]] = {error.default_code: error for error in _CALL_ERRORS}
_RUN_ERROR_BY_CODE: dict[str, type[RunFailed]] = {error.default_code: error for error in _RUN_ERRORS}


def call_error(code: str) -> type[ConvscopeError]:
    """The class of a failed call's canonical status name."""
    return _CALL_ERROR_BY_CODE.get(code, ConvscopeError)


def run_error(code: str) -> type[RunFailed]:
    """The class of a failed run's canonical status name."""
    return _RUN_ERROR_BY_CODE.get(code, RunFailed)
