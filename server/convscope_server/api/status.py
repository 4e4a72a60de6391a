"""Errors as gRPC answers with them: a status code, a message, and google.rpc details that fit in trailers."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from convscope_server.errors import RequestError
from convscope_server.runs.events import Error, FieldViolation

__all__ = [
    "DETAILS_KEY",
    "DOMAIN",
    "MAX_DETAILS",
    "code_number",
    "grpc_code",
    "internal_error",
    "message_of",
    "status_of",
]

DOMAIN = "convscope"
DETAILS_KEY = "grpc-status-details-bin"
MAX_DETAILS = 4096
"""Bytes of google.rpc.Status: 8,000 bytes of trailers arrive, 10,000 sometimes turn into RESOURCE_EXHAUSTED."""
_MAX_MESSAGE = 1000
_MAX_ENCODED_MESSAGE = 2000

_log = logging.getLogger(__name__)


def grpc_code(name: str) -> grpc.StatusCode:
    """The gRPC code with a canonical name; UNKNOWN for any other word."""
    return grpc.StatusCode.__members__.get(name, grpc.StatusCode.UNKNOWN)


def code_number(name: str) -> int:
    """The number of the code with a canonical name: 5 for NOT_FOUND."""
    return int(code_pb2.Code.Value(grpc_code(name).name))


def message_of(error: Error) -> str:
    """The error's message, shortened to what a trailer holds even where every byte of it is percent-encoded."""
    text = error.message[:_MAX_MESSAGE]
    while len(quote(text)) > _MAX_ENCODED_MESSAGE:
        text = text[: len(text) * 9 // 10]
    return text if len(text) == len(error.message) else text[:-1] + "…"


def status_of(error: Error) -> status_pb2.Status:
    """The error as google.rpc.Status of at most `MAX_DETAILS` bytes.

    It has ErrorInfo (reason, domain "convscope", metadata) and, where arguments are at fault, BadRequest. What does
    not fit is shortened: first the texts, then the last violations and metadata.
    """
    for shortened in _ever_shorter(error):
        status = _status(shortened)
        if status.ByteSize() <= MAX_DETAILS:
            return status
    return _status(Error(error.code, error.message[:200], error.reason[:100]))


def internal_error(doing: str) -> RequestError:
    """INTERNAL for the exception being handled: the caller gets a reference, the log gets the traceback."""
    reference = uuid.uuid4().hex[:12]
    _log.exception("internal error %s in %s", reference, doing)
    return RequestError.of(
        "INTERNAL",
        "INTERNAL",
        f"a bug in the server; its log has the traceback under {reference}, please report it",
        metadata={"reference": reference},
    )


def _ever_shorter(error: Error) -> Iterator[Error]:
    message = message_of(error)
    metadata, violations = dict(error.metadata), list(error.violations)
    yield Error(error.code, message, error.reason, metadata, tuple(violations))
    metadata = {key[:64]: value[:200] for key, value in metadata.items()}
    violations = [FieldViolation(v.field[:100], v.description[:300]) for v in violations]
    while metadata or violations:
        yield Error(error.code, message, error.reason, metadata, tuple(violations))
        if len(violations) > 1 or not metadata:
            violations = violations[: len(violations) * 3 // 4]
        else:
            metadata.popitem()


def _status(error: Error) -> status_pb2.Status:
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    details = [_packed(info)]
    if error.violations:
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        details.append(_packed(error_details_pb2.BadRequest(field_violations=fields)))
    if "retry_after_seconds" in error.metadata:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(timedelta(seconds=float(error.metadata["retry_after_seconds"])))
        details.append(_packed(retry))
    if "quota" in error.metadata:
        violation = error_details_pb2.QuotaFailure.Violation(subject=error.metadata["quota"], description=error.message)
        details.append(_packed(error_details_pb2.QuotaFailure(violations=[violation])))
    return status_pb2.Status(code=code_number(error.code), message=error.message, details=details)


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
