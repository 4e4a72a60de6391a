"""What is PostgreSQL's own: its driver, and what it says when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError

from convscope_server.errors import RequestError
from convscope_server.room import says_full
from convscope_server.runs.events import Error
from convscope_server.runs.lock import DataDirectoryLockedError

__all__ = ["DatabaseLockedError", "StoreAwayError", "StoreUnreachableError", "open_postgres", "reached", "used"]


class StoreUnreachableError(RuntimeError):
    """The database cannot be used; the message says why and what to do."""


class StoreAwayError(RequestError):
    """UNAVAILABLE, STORE_AWAY: the database does not answer now."""

    def __init__(self) -> None:
        message = "the server cannot reach its database now; try again in a moment"
        super().__init__(Error("UNAVAILABLE", message, "STORE_AWAY", {"retry_after_seconds": "1"}))


class DatabaseLockedError(DataDirectoryLockedError):
    """Another server uses the database."""


def open_postgres(url: str) -> Engine:
    """A pool of connections by psycopg 3; those that broke are replaced.

    Raises:
        StoreUnreachableError: its driver is not installed.
    """
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    try:
        return create_engine(parsed, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise StoreUnreachableError('PostgreSQL needs its driver: pip install "convscope[postgres]"') from error


@contextmanager
def reached(database: Engine) -> Iterator[None]:
    """Within it the database is used for the first time.

    Raises:
        StoreUnreachableError: it does not answer, or does not let this server in.
    """
    try:
        yield
    except OperationalError as error:
        if database.dialect.name != "postgresql" or says_full(error):
            raise
        said = str(error.orig).strip()
        raise StoreUnreachableError(f"cannot use {database.url.render_as_string()}: {said}") from error


@contextmanager
def used(database: Engine) -> Iterator[None]:
    """Within it the database is used.

    Raises:
        StoreAwayError: it does not answer, or another server has it.
        RequestError: INVALID_ARGUMENT, REQUEST_INVALID: it does not take a text, for a NUL character in it.
    """
    try:
        yield
    except DatabaseLockedError as error:
        raise StoreAwayError from error
    except DataError as error:
        if database.dialect.name == "postgresql" and "NUL" in str(error.orig):
            raise RequestError.invalid("REQUEST_INVALID", [("request", "a text in it has a NUL character")]) from error
        raise
    except DBAPIError as error:
        away = isinstance(error, OperationalError | InterfaceError) and not says_full(error)
        if database.dialect.name == "postgresql" and away:
            raise StoreAwayError from error
        raise
