"""Where a server's store lies, and how it is opened without a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from convscope_server.config import Settings
from convscope_server.images.blobs import Blobs
from convscope_server.runs import schema
from convscope_server.runs.lock import lock_data_dir
from convscope_server.runs.postgres import reached
from convscope_server.storage.archive import Archive
from convscope_server.storage.limits import KeepLimits

__all__ = ["NoStoreError", "Place", "keep_limits"]

_UNLIMITED = 1 << 62


class NoStoreError(LookupError):
    """There is no store at that place."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are.

    Attributes:
        data: The data directory.
        database: SQLAlchemy URL of the runs and image sets.
        content: fsspec URL of the blobs.
    """

    data: Path
    database: str
    content: str

    @classmethod
    def of(cls, settings: Settings) -> Place:
        """Where a server with these settings keeps its store."""
        data = settings.data_dir
        return cls(data, settings.database or f"sqlite:///{data / 'runs.db'}", str(data / "content"))

    @property
    def indexes(self) -> Path:
        """The directory of what workers keep of image sets."""
        return self.data / "index"

    @property
    def checkpoints(self) -> Path:
        """The directory of the files that runs go on from."""
        return self.data / "checkpoints"

    @property
    def blobs(self) -> Blobs:
        """The blobs."""
        return Blobs(self.content, _UNLIMITED)

    @contextmanager
    def alone(self, limits: KeepLimits) -> Iterator[Archive]:
        """The store, opened and brought up to date, and nobody else's within the block.

        Raises:
            DataDirectoryLockedError: a server uses it.
            NoStoreError: there is none.
            StoreUnreachableError: its database does not answer.
            StoreVersionError: it is another version's.
        """
        self.check()
        with lock_data_dir(self.data), ExitStack() as open_ones:
            archive = Archive.at(self.database, self.content, limits, index_dir=self.indexes)
            open_ones.callback(archive.runs.close)
            archive.runs.open()
            open_ones.callback(archive.image_sets.close)
            archive.image_sets.open()
            yield archive

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """The database as it is now, to read only, beside whoever writes to it.

        Raises:
            NoStoreError: there is none.
            StoreUnreachableError: its database does not answer.
            StoreVersionError: it is another version's.
        """
        self.check()
        with self.connected() as database, reached(database):
            schema.require_this_version(database)
            if not inspect(database).has_table("image_sets"):
                raise NoStoreError(f"the store in {self.data} has never been opened by a whole server")
            level = "REPEATABLE READ" if database.dialect.name == "postgresql" else "AUTOCOMMIT"
            with database.connect().execution_options(isolation_level=level) as connection:
                if level == "AUTOCOMMIT":  # Python's sqlite3 begins no transaction to read in
                    connection.exec_driver_sql("BEGIN")
                yield connection
                connection.rollback()

    @contextmanager
    def connected(self) -> Iterator[Engine]:
        """The database, disconnected at the end."""
        database = schema.open_database(self.database)
        try:
            yield database
        finally:
            database.dispose()

    def check(self) -> None:
        """Lets through where there is a store.

        Raises:
            NoStoreError: there is none.
        """
        if self.database.startswith("sqlite") and not (self.data / "runs.db").is_file():
            raise NoStoreError(f"there is no store in {self.data}; name the server's data directory with --data")


def keep_limits(settings: Settings) -> KeepLimits:
    """How much a server with these settings keeps, and how long."""
    return KeepLimits(
        seconds=settings.keep_seconds,
        bytes=int(settings.keep_bytes),
        upload_seconds=settings.keep_upload_seconds,
    )
