"""Small things as the wire has them, and as plain values: times, durations, parameters."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from convscope.errors import FieldViolation, InvalidArgument

__all__ = ["duration", "from_struct", "moment", "seconds", "to_struct"]

_LARGEST_EXACT_INTEGER = 2**53


def moment(timestamp: Timestamp) -> datetime | None:
    """The time in UTC, or None where it was never set."""
    if not timestamp.seconds and not timestamp.nanos:
        return None
    return timestamp.ToDatetime(tzinfo=UTC)


def seconds(message: Duration) -> float:
    """A duration in seconds."""
    return message.seconds + message.nanos / 1e9


def duration(value: float) -> Duration:
    """A duration of that many seconds.

    Raises:
        InvalidArgument: it is negative or no finite number.
    """
    if not math.isfinite(value) or value < 0:
        raise InvalidArgument(f"a time is a finite number of seconds from 0, not {value!r}")
    whole = int(value)
    return Duration(seconds=whole, nanos=round((value - whole) * 1e9) % 1_000_000_000)


def to_struct(params: Mapping[str, Any], path: str = "params") -> Struct:
    """Parameters as the wire has them: JSON values, every number a double. Errors name them by their `path`.

    Raises:
        InvalidArgument: a value is no JSON value, or an integer that a double cannot hold.
    """
    struct = Struct()
    struct.update({name: _plain(value, f"{path}.{name}") for name, value in params.items()})
    return struct


def _plain(value: Any, path: str) -> Any:
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        value = value.tolist()
    match value:
        case None | bool() | str() | float():
            return value
        case int() if abs(value) <= _LARGEST_EXACT_INTEGER:
            return value
        case os.PathLike():
            return os.fspath(value)
        case Mapping():
            return {str(key): _plain(item, f"{path}.{key}") for key, item in value.items()}
        case Iterable() if not isinstance(value, bytes):
            return [_plain(item, f"{path}.{place}") for place, item in enumerate(value)]
    message = f"{path}: {value!r} cannot be sent; give a number up to 2^53, a string, a list or a dict"
    raise InvalidArgument(message, violations=[FieldViolation(path, message)])


def from_struct(struct: Struct) -> dict[str, Any]:
    """JSON values again; whole numbers come back as integers."""
    return {name: _value(value) for name, value in struct.fields.items()}


def _value(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None
