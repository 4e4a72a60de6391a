"""Through what a store's writer writes: any connection, or in PostgreSQL the one that keeps other servers off."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Never

from sqlalchemy import Connection, Engine, RowMapping, text
from sqlalchemy.exc import DBAPIError

from convscope_server.runs.postgres import DatabaseLockedError

__all__ = ["HeldSession", "Session", "session_of"]

_log = logging.getLogger(__name__)

_KEY = "hashtext('convscope ' || current_schema())"
_TRY = text(f"SELECT pg_try_advisory_lock({_KEY})")
_GIVE_BACK = text(f"SELECT pg_advisory_unlock({_KEY})")
_PING = text("SELECT 1")
_WHO = text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
_END = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND backend_start = :backend_start"
)
_ENDING_SECONDS = 5.0


class Session:
    """Connections of a pool, where the lock of the data directory keeps other servers off.

    Attributes:
        taken: Never has a result; fails with DatabaseLockedError once another server has the database.
        idle_seconds: Longest time without a transaction after which to `check`; None needs no checking.
    """

    idle_seconds: float | None = None

    def __init__(self, database: Engine) -> None:
        self.taken: Future[Never] = Future()
        self._database = database

    def open(self) -> None:
        """Keep other servers off.

        Raises:
            DatabaseLockedError: another server has the database.
        """

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction.

        Raises:
            DatabaseLockedError: another server has the database by now.
        """
        with self._database.begin() as connection:
            yield connection

    def check(self) -> None:
        """Make sure of the database between transactions; whatever is wrong is told by the next one, or by `taken`."""

    def close(self) -> None:
        """Let other servers have it."""


class HeldSession(Session):
    """A session of PostgreSQL that holds a lock on the database for as long as it lasts.

    Everything is written through it, so nothing is written without the lock. Where the session ends, because
    PostgreSQL was restarted or the connection broke, the next one takes the lock again before it writes. Where
    another server has it by then, this one never writes again.
    """

    idle_seconds: float | None = 5.0

    def __init__(self, database: Engine) -> None:
        super().__init__(database)
        self._connection: Connection | None = None
        self._mine: RowMapping | None = None

    def open(self) -> None:
        """Take the lock.

        Raises:
            DatabaseLockedError: another server has it.
        """
        self._connection = self._locked()
        if self._connection is None:
            raise DatabaseLockedError(
                f"{self._shown} is in use by another convscope server; stop that one, or give this one another database"
            )

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction of the session that holds the lock.

        Raises:
            DatabaseLockedError: another server has it by now.
        """
        connection = self._alive() or self._take_again()
        try:
            yield connection
            connection.commit()
        except BaseException:
            connection.rollback()
            raise

    def check(self) -> None:
        """Take the lock again where the session has ended meanwhile."""
        with suppress(DBAPIError, DatabaseLockedError), self.begin():
            pass

    def close(self) -> None:
        """Give the lock back and end the session."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DBAPIError):  # its end gives it back too, but a moment later
                connection.execute(_GIVE_BACK)
            _end(connection)

    def _alive(self) -> Connection | None:
        """The session with the lock, a transaction begun; None where it has ended."""
        connection = self._connection
        if connection is None:
            return None
        with suppress(DBAPIError):
            if not connection.invalidated:  # which would connect again by itself, without the lock
                connection.execute(_PING)
                return connection
        self._connection = None
        _end(connection)
        return None

    def _take_again(self) -> Connection:
        if not self.taken.done():
            self._connection = self._locked()
            if self._connection is not None:
                _log.warning("the session with the database had ended; a new one holds it again")
                return self._connection
            error = DatabaseLockedError(
                f"another convscope server took {self._shown} while this one was cut off from it, and has its runs; "
                "this one stops. Stop the other one before this one is started again"
            )
            _log.error("%s", error)
            self.taken.set_exception(error)
        return self.taken.result()

    def _locked(self) -> Connection | None:
        """A session with the lock; None where another server has it."""
        connection = self._database.connect()
        try:
            if _takes(connection, patience=_ENDING_SECONDS if self._end_earlier(connection) else 0.0):
                self._mine = connection.execute(_WHO).mappings().one()
                connection.commit()
                return connection
        except BaseException:
            _end(connection)
            raise
        _end(connection)
        return None

    def _end_earlier(self, connection: Connection) -> bool:
        """End our own earlier session, which PostgreSQL may believe in for hours after the network broke."""
        return self._mine is not None and bool(connection.execute(_END, dict(self._mine)).all())

    @property
    def _shown(self) -> str:
        return self._database.url.render_as_string()


def session_of(database: Engine) -> Session:
    """The kind of session that a database wants."""
    return HeldSession(database) if database.dialect.name == "postgresql" else Session(database)


def _takes(connection: Connection, *, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not connection.execute(_TRY).scalar():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _end(connection: Connection) -> None:
    connection.invalidate()  # pooled, the session would go on, and its lock
    connection.close()
