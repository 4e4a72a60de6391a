from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def own_logging() -> Iterator[None]:
    """For tests that set up the log as a process does: theirs alone, and gone afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("convscope_server")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
