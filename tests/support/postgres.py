"""A PostgreSQL server of our own: its files in a folder, reached by a socket in it, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

__all__ = ["PostgresServer", "postgres_server"]

_SUPER = "convscope"
_PATIENCE = 30.0


class PostgresServer:
    """A server in a folder.

    Attributes:
        folder: Its files and its socket.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._account = _account()
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Its files."""
        if self._account:
            shutil.chown(self.folder, *self._account.values())
        options = ["-D", "data", "-U", _SUPER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._call("initdb", *options)

    def start(self) -> None:
        """Returns when it answers."""
        options = ["-D", "data", "-k", str(self.folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            command = [*self._as_account, self._programs / "postgres", *options]
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self._conninfo).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """At once, as if the power failed; SIGKILL would leave its children."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PATIENCE)
            self._process = None

    def fresh(self) -> str:
        """The URL of a place for tables that nobody has used."""
        schema = f"t{uuid4().hex}"
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{schema}"'.encode())
        return f"postgresql://{_SUPER}@/postgres?host={self.folder}&options=-csearch_path%3D{schema}"

    @property
    def _conninfo(self) -> str:
        return f"host={self.folder} user={_SUPER} dbname=postgres"

    @property
    def _as_account(self) -> list[str]:
        # Not by subprocess, which then forks in earnest: gRPC's threads do not survive that.
        options = {"user": "--reuid", "group": "--regid"}
        words = [f"{options[key]}={number}" for key, number in self._account.items()]
        return ["setpriv", *words, "--clear-groups"] if words else []

    def _call(self, program: str, *words: str) -> None:
        command = [*self._as_account, self._programs / program, *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that runs; the test is skipped where none is installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL is installed here: apt-get install postgresql")
    # Not pytest's folder: the path of a socket is short, and another account must be able to enter.
    with tempfile.TemporaryDirectory(prefix="cs-pg-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "s").mkdir()
        server = PostgresServer(Path(folder) / "s", programs)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGINT)


def _programs() -> Path | None:
    """Where Debian's package, or another, has put initdb and postgres."""
    found = shutil.which("initdb")
    if found:
        return Path(os.path.realpath(found)).parent
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in debian), key=lambda path: float(path.parent.name), default=None)


def _account() -> dict[str, Any]:
    """Whom to run it as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid}
    pytest.skip("PostgreSQL does not run as root, and there is no account `postgres` or `nobody`")
