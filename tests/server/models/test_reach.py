"""Reachability is known within seconds, whatever the other side does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from convscope_server.models.sources import reach
from convscope_server.models.sources.reach import impatient_sockets, why_unreachable


class _NotFound(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _NotFound) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/weights.pth"
        server.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """A host that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_host_that_answers_is_reachable_whatever_it_says(answering: str) -> None:
    assert why_unreachable(answering) == ""


def test_a_closed_port_is_named(silent: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "refused" in why_unreachable(f"http://127.0.0.1:{port}/")


def test_a_host_that_says_nothing_is_given_up(silent: str) -> None:
    started = time.monotonic()
    assert why_unreachable(silent, seconds=0.3)
    assert time.monotonic() - started < 3


def test_a_name_lookup_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(reach, "_ask", lambda *_: str(over.wait(10)))
    assert why_unreachable("https://weights.example/", seconds=0.2) == "no answer within 0.2 s"
    over.set()


def test_something_that_is_no_address_is_a_reason_not_a_crash() -> None:
    assert "unknown url type" in why_unreachable("weights")


def test_sockets_are_impatient_only_inside(silent: str) -> None:
    before = socket.getdefaulttimeout()
    port = int(silent.rpartition(":")[2].strip("/"))
    with (
        impatient_sockets(0.2),
        socket.create_connection(("127.0.0.1", port)) as connection,
        pytest.raises(TimeoutError),
    ):
        connection.recv(1)
    assert socket.getdefaulttimeout() == before
