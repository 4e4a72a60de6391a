"""How a store of an older version becomes one of this version: Alembic revisions, one for each schema version.

A store is brought up whole or stays as it was. New stores are not made here but from `runs.schema`; a test holds the
two to the same tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

__all__ = ["revision", "upgrade"]


def revision(version: int) -> str:
    """The name of the revision that makes schema version `version`."""
    return f"{version:04}"


def upgrade(database: Engine, version: int, to: int) -> None:
    """Bring a store of schema version `version` (0: none) to version `to`; its `meta` table says so afterwards."""
    config = Config()
    config.set_main_option("script_location", "convscope_server.runs:migrations")
    with _alone(database) as connection:
        config.attributes["connection"] = connection
        if version:
            command.stamp(config, revision(version), purge=True)
        command.upgrade(config, revision(to))
        connection.execute(text("UPDATE meta SET value = :version WHERE key = 'schema_version'"), {"version": str(to)})


@contextmanager
def _alone(database: Engine) -> Iterator[Connection]:
    """A connection inside one transaction that holds table changes too."""
    if database.dialect.name != "sqlite":
        with database.begin() as connection:
            yield connection
        return
    # Python's sqlite3 begins no transaction for table changes by itself, and SQLite changes a table by copying it,
    # in which foreign keys would delete every row that refers to it.
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        finally:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
