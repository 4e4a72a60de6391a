"""Messages between processes."""

from __future__ import annotations

import socket
import threading

import msgspec
import pytest

from convscope_server.engine.messages import Cancel, Command, Events, Hello, Ping, Report, RunSpec, Start
from convscope_server.engine.pipe import HEADER_BYTES, body_length, decode_command, decode_report, frame, read_frames
from convscope_server.runs.events import Artifact, Progress, Result

COMMANDS: list[Command] = [
    Ping(),
    Cancel("a", "draining"),
    Start(RunSpec("a", "t", "m", {"x": [1, None, "é"]}, image=b"\0\1")),
]
REPORTS: list[Report] = [
    Hello("cpu", 1, (), (), ()),
    Events("a", (Progress(1), Result(Artifact("n", "tensor", "x", b"\xff" * 70_000, "sha256:0", 70_000)))),
]


def test_what_is_sent_is_what_arrives_in_order_and_whole() -> None:
    ours, theirs = socket.socketpair()
    data = b"".join(frame(c) for c in COMMANDS)

    def send() -> None:
        with ours:
            for start in range(0, len(data), 7):
                ours.sendall(data[start : start + 7])

    thread = threading.Thread(target=send)
    thread.start()
    with theirs:
        assert [decode_command(body) for body in read_frames(theirs)] == COMMANDS
    thread.join()


@pytest.mark.parametrize("report", REPORTS, ids=lambda r: type(r).__name__)
def test_reports_survive_the_way(report: Report) -> None:
    data = frame(report)
    assert body_length(data[:HEADER_BYTES]) == len(data) - HEADER_BYTES
    assert decode_report(data[HEADER_BYTES:]) == report


def test_a_message_cut_off_by_a_crash_is_no_message() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(frame(COMMANDS[0]) + frame(COMMANDS[2])[:-1])
    ours.close()
    with theirs:
        assert [decode_command(body) for body in read_frames(theirs)] == COMMANDS[:1]


def test_who_dies_with_words_unread_has_gone_away_like_any_other() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(frame(REPORTS[0]))
    ours.close()  # with what was sent to it unread, the other side is reset instead of reading the end
    with theirs:
        assert list(read_frames(theirs)) == []


def test_a_worker_cannot_send_the_front_end_anything_but_reports() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_report(msgspec.msgpack.encode({"type": "Start", "spec": {}}))
