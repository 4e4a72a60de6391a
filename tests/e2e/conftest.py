"""One server for the tests that do it no harm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import convscope
from convscope.testing import ServerProcess
from support.hostile_plugin import HOSTILE


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the built-in model and the hostile plugin."""
    with ServerProcess(tmp_path_factory.mktemp("server"), "--devices", "cpu", "--plugin", HOSTILE) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[convscope.Client]:
    """A client of it."""
    with convscope.connect(server.address) as client:
        yield client
