"""Messages over a socket between two processes of ours: a length, then msgpack."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from convscope_server.engine.messages import Command, Report

__all__ = ["decode_command", "decode_report", "frame", "read_frames"]

_LENGTH = struct.Struct("<I")
_ENCODER = msgspec.msgpack.Encoder()
_COMMANDS = msgspec.msgpack.Decoder(Command)
_REPORTS = msgspec.msgpack.Decoder(Report)

HEADER_BYTES = _LENGTH.size


def frame(message: msgspec.Struct) -> bytes:
    """The message as it goes over the socket."""
    body = _ENCODER.encode(message)
    return _LENGTH.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """How many bytes follow this header."""
    length: int = _LENGTH.unpack(header)[0]
    return length


def decode_command(body: bytes) -> Command:
    """The command in a frame's body."""
    command: Command = _COMMANDS.decode(body)
    return command


def decode_report(body: bytes) -> Report:
    """The report in a frame's body."""
    report: Report = _REPORTS.decode(body)
    return report


def read_frames(connection: socket.socket) -> Iterator[bytes]:
    """Bodies of frames until the other side goes away."""
    with connection.makefile("rb") as stream:
        while header := _whole(stream, HEADER_BYTES):
            body = _whole(stream, body_length(header))
            if body is None:
                return
            yield body


def _whole(stream: BinaryIO, size: int) -> bytes | None:
    """So many bytes, or None where the other side is gone. One that died with words of ours unread resets."""
    try:
        data = stream.read(size)
    except ConnectionError:
        return None
    return data if len(data) == size else None
