"""Databases for the tests of stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import databases
from support.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of our own."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module", params=databases.KINDS)
def each_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs on each kind of database: whatever it makes by `databases.fresh`."""
    if request.param == "sqlite":
        yield request.param
        return
    with databases.using(request.getfixturevalue("postgres").fresh):
        yield request.param
