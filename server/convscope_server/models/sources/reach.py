"""Whether the network is there, found out in seconds: hubs retry for most of a minute before they give up."""

from __future__ import annotations

import queue
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

__all__ = ["impatient_sockets", "why_unreachable"]


def why_unreachable(url: str, *, seconds: float = 6.0) -> str:
    """Why nobody answers at an http(s) `url`, or "" where somebody does, whatever the status.

    Takes at most `seconds`, name lookup included. Proxies are those of the environment.
    """
    answer: queue.SimpleQueue[str] = queue.SimpleQueue()
    # A thread, since a name lookup knows no timeout; a daemon, since nobody waits for it.
    threading.Thread(target=lambda: answer.put(_ask(url, seconds)), name="convscope-reach", daemon=True).start()
    try:
        return answer.get(timeout=seconds)
    except queue.Empty:
        return f"no answer within {seconds:g} s"


def _ask(url: str, seconds: float) -> str:
    try:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - addresses come from the libraries
        urllib.request.urlopen(request, timeout=seconds).close()  # noqa: S310 - likewise
    except urllib.error.HTTPError as refusal:
        refusal.close()  # somebody answered
    except (OSError, HTTPException, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return ""


@contextmanager
def impatient_sockets(seconds: float = 15.0) -> Iterator[None]:
    """Within it a socket that says nothing for `seconds` is an error: torch.hub would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
