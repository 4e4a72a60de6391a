"""A real server in a process of its own: for tests, demonstrations and benchmarks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from types import TracebackType
from typing import IO, Self

from convscope.errors import Unavailable

__all__ = ["ServerProcess"]

_READY = re.compile(r"convscope is ready on (\S+)")
_LOG_LINES = 12


class ServerProcess:
    """`convscope serve` on a free port of this machine, over a data directory that outlives it.

    Use it in a `with` block, or `start` and `stop` it; started again, it has the same runs and another port.

    Args:
        data: The server's data directory; its log is `server.log` in it.
        flags: Further flags of `convscope serve`.
        settings: Settings by name (`max_live_runs=1`), as `CONVSCOPE_*` would give them.
        patience: Seconds that it may take to be ready.
        python: Interpreter of another environment; this one's where absent.
    """

    def __init__(
        self, data: Path, *flags: str, patience: float = 300.0, python: Path | None = None, **settings: object
    ) -> None:
        self.data = data
        self.address = ""
        interpreter = sys.executable if python is None else str(python)
        self._command = [interpreter, "-m", "convscope", "serve", "--port", "0", "--data", str(data), *flags]
        self._settings = {f"CONVSCOPE_{name.upper()}": str(value) for name, value in settings.items()}
        self._patience = patience
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the front end; 0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.data / "server.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            Unavailable: it did not get ready; the message has the end of its log.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        self._log = (self.data / "server.log").open("a")
        # No shell, and no words but ours.
        self._process = subprocess.Popen(  # noqa: S603
            self._command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **self._settings},
        )
        self.address = self._wait()

    def signal(self, how: Signals) -> None:
        """Send its front end a signal."""
        assert self._process is not None
        self._process.send_signal(how)

    def kill(self) -> None:
        """End it as a power cut would: nothing in it gets a chance to tidy up."""
        self._end(SIGKILL)

    def stop(self, patience: float = 60.0) -> int:
        """End it in order, killing it after `patience` seconds; gives its exit code."""
        return self._end(SIGTERM, patience)

    def _wait(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        too_long = threading.Timer(self._patience, self._process.kill)
        too_long.start()
        try:
            for line in self._process.stdout:
                if match := _READY.match(line):
                    return match[1]
        finally:
            too_long.cancel()
        self._end(SIGKILL)
        end = "\n".join(self.log.splitlines()[-_LOG_LINES:])
        raise Unavailable(f"the server did not get ready; the end of its log:\n{end}")

    def _end(self, how: Signals, patience: float = 10.0) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        try:
            process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if self._log is not None:
            self._log.close()
        return process.returncode
