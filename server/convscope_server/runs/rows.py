"""Runs and entries of their logs as rows of the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import func

from convscope_server.runs.events import Error, Event, Failed, Started, is_terminal
from convscope_server.runs.run import LoggedEvent, RunRecord, RunRequest, state_after
from convscope_server.runs.schema import runs

__all__ = ["changes", "encode", "entry_of", "record_of", "row_of"]

encode = msgspec.msgpack.Encoder().encode
_decode_event = msgspec.msgpack.Decoder(Event).decode
_decode_request = msgspec.msgpack.Decoder(RunRequest).decode
_decode_error = msgspec.msgpack.Decoder(Error).decode


def row_of(logged: LoggedEvent) -> dict[str, Any]:
    """The row of an entry."""
    return {
        "run": logged.run,
        "sequence": logged.sequence,
        "time": logged.time,
        "kind": type(logged.event).__struct_config__.tag,
        "terminal": is_terminal(logged.event),
        "payload": encode(logged.event),
    }


def entry_of(run: str, row: Any) -> LoggedEvent:
    """The entry of a row."""
    return LoggedEvent(run, row.sequence, row.time, _decode_event(row.payload))


def record_of(row: Any) -> RunRecord:
    """The run of a row."""
    return RunRecord(
        row.id,
        row.state,
        _decode_request(row.request),
        row.create_time,
        row.start_time,
        row.end_time,
        row.last_sequence,
        None if row.error is None else _decode_error(row.error),
        row.device_seconds,
        row.identity or "",
    )


def changes(entries: Sequence[LoggedEvent]) -> dict[str, Any]:
    """What entries change about their run."""
    found: dict[str, Any] = {"last_sequence": entries[-1].sequence}
    for logged in entries:
        state = state_after(logged.event)
        if state is None:
            continue
        found["state"] = state
        if isinstance(logged.event, Started):
            found["attempts"] = logged.event.attempt
            found["start_time"] = func.coalesce(runs.c.start_time, logged.time)
        elif is_terminal(logged.event):
            found["end_time"] = logged.time
        if isinstance(logged.event, Failed):
            found["error"] = encode(logged.event.error)
    return found
