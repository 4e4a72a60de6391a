"""A server to measure, in a process of its own, and a photograph to give it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import psutil

import convscope
from convscope.testing import ServerProcess

__all__ = ["Server", "photograph", "scratch", "serving", "wait_until"]


class Server(ServerProcess):
    """A server with its processes to measure."""

    @property
    def process(self) -> psutil.Process:
        """The front end."""
        return psutil.Process(self.pid)

    @property
    def worker(self) -> psutil.Process:
        """The one worker."""
        with convscope.connect(self.address) as client:
            (device,) = client.devices()
        return psutil.Process(device.pid)


@contextmanager
def serving(**settings: object) -> Iterator[tuple[Server, convscope.Client]]:
    """A started server over an empty data directory, and a client of it. Nothing is answered from an earlier run."""
    with (
        scratch() as data,
        Server(data, drain_grace=1, **{"cache": False, **settings}) as server,
        convscope.connect(server.address) as client,
    ):
        yield server, client


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="convscope-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def photograph(name: str = "chelsea") -> bytes:
    """One of scikit-image's pictures, its cat of 451 by 300 pixels if not told otherwise, as a PNG file."""
    return (resources.files("skimage") / "data" / f"{name}.png").read_bytes()


def wait_until(condition: Callable[[], bool], *, seconds: float = 60.0, every: float = 0.05) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True
