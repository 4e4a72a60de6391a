"""A server in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_READY = re.compile(r"ready on (\S+)")


@contextmanager
def served(data: Path, *flags: str) -> Iterator[str]:
    """The address of `convscope serve` on a free port, with its data in a directory; stopped afterwards."""
    command = [sys.executable, "-m", "convscope", "serve", "--port", "0", "--data", str(data), *flags]
    log = data / "server.log"
    with log.open("w") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            found = _READY.search(line)
            assert found, f"the server did not start: {line!r}\n{log.read_text()}"
            yield found[1]
        finally:
            server.terminate()
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()
