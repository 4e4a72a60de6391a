"""How long is long: a server for each file, and the sizes that `make chaos`, `make fuzz` and `make soak` choose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from convscope.testing import ServerProcess
from support.hostile_plugin import HOSTILE
from support.steady_plugin import STEADY


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the steady and the hostile plugin, and nothing loaded."""
    flags = "--devices", "cpu", "--plugin", STEADY, "--plugin", HOSTILE
    with ServerProcess(tmp_path_factory.mktemp("server"), *flags, warm_models="") as running:
        yield running


@pytest.fixture
def cuts(request: pytest.FixtureRequest) -> int:
    """How many streams are cut."""
    return int(request.config.getoption("--cuts"))


@pytest.fixture
def requests(request: pytest.FixtureRequest) -> int:
    """How many requests are made up."""
    return int(request.config.getoption("--requests"))


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> int:
    """How long it goes on."""
    return int(request.config.getoption("--seconds"))


@pytest.fixture
def clients(request: pytest.FixtureRequest) -> int:
    """How many clients there are meanwhile."""
    return int(request.config.getoption("--clients"))
